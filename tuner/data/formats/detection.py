"""Tell how a file is written, by what is in it as well as by its name."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = 64 * 1024
"""Bytes that are looked at."""

_NAMED = {".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow"}
"""Binary files, which are so named even when they are damaged."""
_LINES = (".jsonl", ".ndjson")
_MAGIC = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b"\xff\xff\xff\xff", "arrow"))
"""Parquet; Arrow's file; Arrow's stream, which begins with a continuation mark."""


def detect(path: Path, encoding: str = "utf-8") -> str:
    """The key of ``READERS`` for a file or folder.

    Content goes before the name, but for what content leaves open: text that is no JSON may still
    be meant to be.

    Raises:
        OSError: The file cannot be read.
    """
    if path.is_dir():
        return "dataset"
    start = _start(path)
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    suffixes = [each.lower() for each in path.suffixes if each.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    return _NAMED.get(suffix) or _of_text(start.decode(encoding, "replace"), suffix)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(SAMPLE)
        if not start.startswith(b"\x1f\x8b"):
            return start
        file.seek(0)
        try:
            return gzip.GzipFile(fileobj=file).read1(SAMPLE)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return b""


def _of_text(start: str, suffix: str) -> str:
    text = start.removeprefix("\ufeff").lstrip()
    line, ended, _ = text.partition("\n")
    if suffix in (".csv", ".tsv"):
        return "jsonl" if line.startswith("{") and _is_json(line) else "csv"
    if text.startswith("[") and text[1:].lstrip()[:1] in ("{", "]", ""):
        return "json"
    if text.startswith("{"):
        is_open = ended and not line.rstrip(" \t\r,").endswith("}") and not _is_json(line)
        return "json" if is_open and suffix not in _LINES else "jsonl"
    return "jsonl" if suffix in _LINES else "json" if suffix == ".json" else "csv"


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
