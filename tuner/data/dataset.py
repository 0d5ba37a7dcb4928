"""Sources of examples, the batches that readers yield, and ``read``, which detects a file's format."""

from __future__ import annotations

import gzip
import json
import zlib
from glob import glob, has_magic
from importlib import import_module
from itertools import starmap
from operator import attrgetter
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

from tuner.errors import Problem
from tuner.types import Example

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Row: TypeAlias = Example | Problem

Field: TypeAlias = Literal["text_input", "output"]
Turns: TypeAlias = Literal["refuse", "expand"]

BATCH_ROWS = 4096
SAMPLE_BYTES = 64 * 1024
"""Bytes of a file from which its format is detected."""

_DATASET_FILES = ("state.json", "dataset_dict.json")
"""Files that mark a folder as one saved by `datasets`."""
_MAGIC = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b"\xff\xff\xff\xff", "arrow"))
"""Parquet; Arrow's file format; Arrow's stream format, which starts with a continuation mark."""


class Columns(NamedTuple):
    """The columns, or keys, that hold the two texts."""

    text_input: str = "text_input"
    output: str = "output"


USUAL = Columns()


class Source(NamedTuple):
    """Which files hold the examples, and how to read them.

    Attributes:
        paths: Files or patterns, read one after the other; their formats may differ.
        columns: Where the input and the output are. The default also accepts any known record
            format, e.g. ``messages``.
        format: A key of ``READERS`` or of ``record_formats.RECORD_FORMATS``; ``auto`` detects it.
        encoding: Of text files; a UTF-8 byte-order mark is always allowed.
        multi_turn: Refuse a conversation of several turns, or expand it to an example per answer.
    """

    paths: tuple[Path, ...]
    columns: Columns = USUAL
    format: str = "auto"
    encoding: str = "utf-8"
    multi_turn: Turns = "refuse"


class Locate(Protocol):
    """Finds a character of a row in its file."""

    def __call__(self, row: int, field: Field, offset: int = 0) -> tuple[int, int]:
        """Return line and column, both 1-based, the column in characters; 0 if it is not known.

        Args:
            row: The row's index in the batch.
            field: Which of its two texts.
            offset: The character of that text, from 0.
        """


class Batch(NamedTuple):
    """Rows of one file, in file order, as columns of equal length.

    Attributes:
        path: The file, as the user named it.
        text_inputs: The inputs, unchanged.
        outputs: The outputs, unchanged.
        lines: Where each row starts, 1-based; the row's number where a file has no lines.
        problems: What is wrong with rows that could not be read, which are in no column.
        locate: Finds the place of a text; valid while the batch is alive.
    """

    path: str
    text_inputs: Sequence[str]
    outputs: Sequence[str]
    lines: Sequence[int]
    problems: Sequence[Problem]
    locate: Locate

    def examples(self) -> Iterator[Example]:
        """Yield the readable rows."""
        return starmap(Example, zip(self.text_inputs, self.outputs, self.lines, strict=True))

    def unread(self) -> int:
        """Count the rows that could not be read; one row may have several problems."""
        return len({each.line for each in self.problems if each.line})


class Reader(NamedTuple):
    """A file format: ``module:function`` of its reader, and its usual suffixes.

    The function takes ``(path, source)`` and yields batches. It reports what is wrong with a
    file's content as problems and raises OSError only.
    """

    function: str
    suffixes: tuple[str, ...]


READERS = {
    "csv": Reader("tuner.data.csv:read", (".csv", ".tsv")),
    "jsonl": Reader("tuner.data.json:read_lines", (".jsonl", ".ndjson")),
    "json": Reader("tuner.data.json:read_array", (".json",)),
    "parquet": Reader("tuner.data.parquet:read", (".parquet", ".pq")),
    "arrow": Reader("tuner.data.parquet:read", (".arrow", ".feather")),
    "dataset": Reader("tuner.data.parquet:read_folder", ()),
}
"""File formats; how each of their records becomes an example is in ``record_formats``."""

FORMATS = ("auto", *READERS, "openai", "vertex", "sharegpt", "prompt-completion", "alpaca")
"""The values of ``format``: a file format or a record format."""


def read(source: Source) -> Iterator[Batch]:
    """Yield the rows of all files, with some thousand rows in memory at a time.

    A file that cannot be read yields one problem.
    """
    for path in files(source.paths):
        if path.exists() and not (path.is_file() or path.is_dir()):
            yield _unreadable(path, *explain_missing(path))
            continue  # reading a pipe to detect its format would consume it
        try:
            before = _version(path)
            name = source.format if source.format in READERS else detect(path, source.encoding)
            module, _, function = READERS[name].function.partition(":")
            yield from getattr(import_module(module), function)(path, source)
            if _version(path) != before:
                what, fix = "was written to while it was read", "run this again when it is complete"
                yield _unreadable(path, what, fix)
        except OSError as error:
            what = f"cannot be read: {(error.strerror or str(error)).lower()}"
            yield _unreadable(path, what, "check the path")


def read_rows(source: Source) -> Iterator[Row]:
    """Yield what ``read`` yields row by row, in file order: an Example or a Problem."""
    for batch in read(source):
        rows: list[Row] = [*batch.examples(), *batch.problems]
        yield from sorted(rows, key=attrgetter("line")) if batch.problems else rows


def problems_only(path: Path, *problems: Problem) -> Batch:
    """Return a batch without rows."""
    return Batch(str(path), (), (), (), problems, nowhere)


def nowhere(row: int, field: Field, offset: int = 0) -> tuple[int, int]:  # noqa: ARG001 -- Locate's signature
    """Return the unknown place: the ``locate`` of batches that come from no file."""
    return 0, 0


def matching(path: Path) -> list[Path]:
    """Return the file itself if it exists, else the files it matches as a pattern, sorted.

    ``*``, ``?`` and ``[...]`` match parts of a name, ``**`` folders at any depth. Folders are
    left out, except those that `datasets` saved.
    """
    if path.exists():
        return [path]
    if not has_magic(str(path)):
        return []
    found = (Path(each) for each in sorted(glob(str(path), recursive=True)))  # noqa: PTH207 -- Path.glob takes no absolute pattern
    return [each for each in found if is_readable(each)]


def is_readable(path: Path) -> bool:
    """Whether a path is a file, or a folder that `datasets` saved."""
    return path.is_file() or any((path / name).is_file() for name in _DATASET_FILES)


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield every file the paths match, in order, once; a path that matches none, unchanged."""
    seen: set[str] = set()
    for path in paths:
        for each in matching(path) or [path]:
            real = realpath(each)  # Path.resolve raises on a loop of links
            if real not in seen:
                seen.add(real)
                yield each


def explain_missing(path: Path) -> tuple[str, str]:
    """Return the message for a path that matches no file, and a fix."""
    if path.is_dir():
        return f"{path} is a folder, not a file", f"name a file in it, or {path / '*.jsonl'}"
    if path.exists():
        return f"{path} is not an ordinary file", "copy its content into a file and name that"
    what = f"{path} matches no file" if has_magic(str(path)) else f"{path} does not exist"
    near = _nearest_file(path)
    return what, f"did you mean {near}?" if near else "paths are relative to the spec"


def detect(path: Path, encoding: str = "utf-8") -> str:
    """Return the key of ``READERS`` for a file or folder, from its content first, then its name.

    Raises:
        OSError: The file cannot be read.
    """
    if path.is_dir():
        return "dataset"
    start = _first_bytes(path)
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    suffixes = [each.lower() for each in path.suffixes if each.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    binary = next((name for name in ("parquet", "arrow") if suffix in READERS[name].suffixes), "")
    return binary or _text_format(start.decode(encoding, "replace"), suffix)


def _version(path: Path) -> tuple[int, int]:
    """Return inode and mtime, which change when a file is written to or replaced."""
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns


def _unreadable(path: Path, what: str, fix: str) -> Batch:
    return problems_only(path, Problem(str(path), 0, 0, what, fix, "unreadable"))


def _nearest_file(path: Path) -> Path | None:
    from difflib import get_close_matches

    names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, names, n=1)
    return path.parent / near[0] if near else None


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(SAMPLE_BYTES)
        if not start.startswith(b"\x1f\x8b"):
            return start
        file.seek(0)
        try:
            return gzip.GzipFile(fileobj=file).read1(SAMPLE_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return b""


def _text_format(start: str, suffix: str) -> str:
    text = start.removeprefix("\ufeff").lstrip()
    line, newline, _ = text.partition("\n")
    if suffix in (".csv", ".tsv"):
        return "jsonl" if line.startswith("{") and _is_json(line) else "csv"
    if text.startswith("[") and text[1:].lstrip()[:1] in ("{", "]", ""):
        return "json"
    if text.startswith("{"):
        is_open = newline and not line.rstrip(" \t\r,").endswith("}") and not _is_json(line)
        return "json" if is_open and suffix not in READERS["jsonl"].suffixes else "jsonl"
    return (
        "jsonl" if suffix in READERS["jsonl"].suffixes else "json" if suffix == ".json" else "csv"
    )


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
