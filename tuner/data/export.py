"""Write examples to files of every format, so that reading one gives the same examples."""

from __future__ import annotations

import gzip
import json
import os
import re
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from tuner.data.dataset import USUAL, files
from tuner.data.record_formats import PLAIN, RECORD_FORMATS, records_of
from tuner.errors import DatasetError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tuner.data.dataset import Columns
    from tuner.types import Example

    Record = Mapping[str, Any]
    Keys = Sequence[str]

_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
"""JSON can escape one half, but two that follow each other would be read as one character."""
_TO_QUOTE = re.compile(r'[",;|\t\r\n\0]|^\s|\s$')
_encode = json.JSONEncoder(ensure_ascii=False).encode
_encode_ascii = json.JSONEncoder().encode


class Writer(NamedTuple):
    """A row of ``WRITERS``: ``module:function``, and the usual suffixes.

    The function takes ``(file, keys, records)``: a binary file, and mappings that have those keys.
    ``is_flat``: a record may hold nothing but texts.
    """

    function: str
    suffixes: tuple[str, ...]
    is_flat: bool = False


WRITERS = {
    "csv": Writer("tuner.data.export:as_csv", (".csv", ".txt"), is_flat=True),
    "tsv": Writer("tuner.data.export:as_tsv", (".tsv",), is_flat=True),
    "jsonl": Writer("tuner.data.export:as_jsonl", (".jsonl", ".ndjson")),
    "json": Writer("tuner.data.export:as_json", (".json",)),
    "parquet": Writer("tuner.data.parquet:as_parquet", (".parquet", ".pq")),
    "arrow": Writer("tuner.data.parquet:as_arrow", (".arrow", ".feather")),
}


def write(  # noqa: PLR0913 -- what, where to, and how
    path: Path,
    examples: Iterable[Example],
    format: str = "auto",  # noqa: A002 -- the word of the spec
    columns: Columns = USUAL,
    *,
    force: bool = False,
    inputs: Iterable[Path] = (),
    system: str = "",
) -> int:
    """Write examples one by one, and give the file its name when it is complete.

    Args:
        path: Ends in ``.gz`` to be compressed. Its folder must be there.
        examples: Taken one at a time; they may come from a reader.
        format: A key of ``WRITERS``, or a record format (``openai``, ``vertex``...) in the file
            format that the suffix of ``path`` names, else JSON Lines. ``auto`` goes by the suffix.
        columns: The names of the two columns or keys, where a record format has none.
        force: Whether an existing file may be overwritten.
        inputs: Files, or patterns, that are never overwritten.
        system: Instruction of every example, for the record formats that have a place for it.

    Returns:
        How many examples were written.

    Raises:
        DatasetError: The file exists, is an input, cannot be written, or its format cannot hold
            one of the texts; nothing is left behind.
    """
    check_free(path, force, inputs)
    container, record_format = _container_and_format(path, format)
    count = 0

    def checked() -> Iterator[Example]:
        nonlocal count
        for count, each in enumerate(examples, 1):
            _check_surrogates(path, container, each, count)
            yield each

    keys, records = records_of(checked(), record_format, columns, system)
    module, _, function = WRITERS[container].function.partition(":")
    with atomic_file(path) as file:
        getattr(import_module(module), function)(file, keys, records)
    return count


def write_page(path: Path, text: str, *, force: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Write a text, e.g. a report, as UTF-8; what ``write`` refuses is refused."""
    check_free(path, force, inputs)
    with atomic_file(path) as file:
        file.write(text.encode("utf-8", "replace"))


def check_free(path: Path, force: bool, inputs: Iterable[Path]) -> None:
    """Raise DatasetError if a path may not be written to."""
    if not path.exists():
        return
    if any(each.exists() and path.samefile(each) for each in files(inputs)):
        what, fix = "is one of the inputs, which are never written over", "name another file"
    elif path.is_dir():
        what, fix = "is a folder, not a file", f"name a file in it, e.g. {path / 'examples.jsonl'}"
    elif not force:
        what, fix = "is already there", "name another file, or say --force to write over it"
    else:
        return
    raise DatasetError([Problem(str(path), 0, 0, what, fix, "file-exists")])


def _check_surrogates(path: Path, container: str, example: Example, count: int) -> None:
    bad = _SURROGATE_PAIR if "json" in container else _SURROGATE
    for name, text in (("text_input", example.text_input), ("output", example.output)):
        if not text.isascii() and bad.search(text):
            row = f"row {count:,}" + (f" (read from line {example.line:,})" * bool(example.line))
            what = f"{row}: {name} holds half of a surrogate pair, which {container} cannot hold"
            fix = "write the character itself, or delete the row"
            raise DatasetError([Problem(str(path), 0, 0, what, fix, "not-unicode")])


def _container_and_format(path: Path, wanted: str) -> tuple[str, str]:
    """Return the file format and the record format to write.

    Raises:
        DatasetError: The suffix is unknown, or the file format cannot hold the record format.
    """
    if wanted in WRITERS:
        return wanted, PLAIN
    suffixes = [each.lower() for each in path.suffixes if each.lower() != ".gz"]
    last = suffixes[-1] if suffixes else ""
    named = next((name for name, each in WRITERS.items() if last in each.suffixes), "")
    if wanted == "auto":
        if named:
            return named, PLAIN
        what = "its suffix names no format"
        fix = "end it in .csv, .tsv, .jsonl, .json, .parquet or .arrow, or say --to-format"
        raise DatasetError([Problem(str(path), 0, 0, what, fix, "no-format")])
    container = named or "jsonl"
    if WRITERS[container].is_flat and not RECORD_FORMATS[wanted].is_flat:
        what = f"{container} has no place for the messages of {wanted}"
        fix = f"name a file that ends in .jsonl, e.g. {path.with_suffix('.jsonl').name}"
        raise DatasetError([Problem(str(path), 0, 0, what, fix, "no-format")])
    return container, wanted


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets the name ``path`` when it is complete, and is deleted if it is not."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as raw, _packed(raw, path) as file:
            yield file
        part.replace(path)
    except OSError as error:
        what = f"cannot be written: {(error.strerror or str(error)).lower()}"
        problem = Problem(str(path), 0, 0, what, "check the path and the disk", "unwritable")
        raise DatasetError([problem]) from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _packed(raw: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """Compress if the suffix is .gz; without a time in it, equal examples give equal files."""
    if path.suffix.lower() != ".gz":
        yield raw
        return
    with gzip.GzipFile(path.stem, "wb", 6, raw, mtime=0) as file:
        yield file  # type: ignore[misc] # a GzipFile writes like any binary file


def as_csv(file: IO[bytes], keys: Keys, records: Iterable[Record], delimiter: str = ",") -> None:
    """Write rows that end in a newline; only a cell that needs quotes gets them."""
    for cells in chain([keys], (record.values() for record in records)):
        row = (
            '"' + text.replace('"', '""') + '"' if _TO_QUOTE.search(text) else text
            for text in cells
        )
        file.write((delimiter.join(row) + "\n").encode())


def as_tsv(file: IO[bytes], keys: Keys, records: Iterable[Record]) -> None:
    """Write rows of cells separated by tabs, quoted as in CSV."""
    as_csv(file, keys, records, "\t")


def as_jsonl(file: IO[bytes], _keys: Keys, records: Iterable[Record]) -> None:
    """Write an object per line."""
    for record in records:
        file.write(_object(record) + b"\n")


def as_json(file: IO[bytes], _keys: Keys, records: Iterable[Record]) -> None:
    """Write an array with an object per line."""
    before = b"[\n"
    for record in records:
        file.write(before + _object(record))
        before = b",\n"
    file.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def _object(record: Record) -> bytes:
    """Encode a record, with escapes only where UTF-8 cannot hold it."""
    try:
        return _encode(record).encode()
    except UnicodeEncodeError:
        return _encode_ascii(record).encode()
