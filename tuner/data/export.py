"""Write examples to files of every format, so that reading one gives the same examples."""

from __future__ import annotations

import gzip
import json
import os
import re
from contextlib import contextmanager
from importlib import import_module
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
_TO_QUOTE = re.compile(r'[",;|\t\r\n\0]|^\s|\s$')
_encode = json.JSONEncoder(ensure_ascii=False).encode
_encode_ascii = json.JSONEncoder().encode


class Writer(NamedTuple):
    """One row of the table: where the code is, and the names of its files.

    The function takes ``(file, keys, records)``: a binary file, and mappings that have those keys;
    it writes one after the other. ``is_flat``: a record may hold nothing but texts.
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
    """Write examples one by one, atomic_file, and put the file in its place when it is complete.

    Args:
        path: Ends in ``.gz`` to be compressed. Its folder must be there.
        examples: Taken one at a time; they may come from a reader.
        format: A key of ``WRITERS``, or a shape: ``openai``, ``vertex`` ... in the container that
            ``path`` is named for, else JSON Lines. ``auto`` goes by the name alone.
        columns: The names of the two columns or keys, where a shape has none of its own.
        force: Whether a file that is there may be written over.
        inputs: Files, or patterns, that must not be written over, not even then.
        system: For the shapes that have a place for it: the instruction of every example.

    Returns:
        How many examples were written.

    Raises:
        DatasetError: The file is there, is an input, cannot be written, or its format cannot hold
            one of the texts; nothing is left behind.
    """
    check_free(path, force, inputs)
    container, shape = _container_and_format(path, format)
    counted = _Counted(path, container, examples)
    keys, records = records_of(counted, shape, columns, system)
    module, _, function = WRITERS[container].function.partition(":")
    with atomic_file(path) as file:
        getattr(import_module(module), function)(file, keys, records)
    return counted.count


def write_page(path: Path, text: str, *, force: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Write a text for people, e.g. a report, as UTF-8; refuses what ``write`` refuses."""
    check_free(path, force, inputs)
    with atomic_file(path) as file:
        file.write(text.encode("utf-8", "replace"))


class _Counted:
    """Examples on their way to a file, looked through for what it cannot hold."""

    def __init__(self, path: Path, container: str, examples: Iterable[Example]) -> None:
        self.count = 0
        self._path = path
        self._container = container
        self._examples = examples
        # JSON can escape one half, but two that follow each other would be read as one character
        self._bad = (
            re.compile("[\ud800-\udbff][\udc00-\udfff]") if "json" in container else _SURROGATE
        )

    def __iter__(self) -> Iterator[Example]:
        for each in self._examples:
            self.count += 1
            for name, text in (("text_input", each.text_input), ("output", each.output)):
                if not text.isascii() and self._bad.search(text):
                    raise DatasetError([self._refused(name, each.line)])
            yield each

    def _refused(self, name: str, line: int) -> Problem:
        row = f"row {self.count:,}" + (f" (read from line {line:,})" if line else "")
        what = f"{row}: {name} holds half of a surrogate pair, which {self._container} cannot hold"
        fix = "write the character itself, or delete the row"
        return Problem(str(self._path), 0, 0, what, fix, "not-unicode")


def check_free(path: Path, force: bool, inputs: Iterable[Path]) -> None:
    """Refuse, with a DatasetError, a name that is in use and must stay what it is."""
    if not path.exists():
        return
    if any(each.exists() and path.samefile(each) for each in files(inputs)):
        what, fix = "is what is read, and is never written over", "name another file"
    elif path.is_dir():
        what, fix = "is a folder, not a file", f"name a file in it, e.g. {path / 'examples.jsonl'}"
    elif not force:
        what, fix = "is already there", "name another file, or say --force to write over it"
    else:
        return
    raise DatasetError([Problem(str(path), 0, 0, what, fix, "file-exists")])


def _container_and_format(path: Path, wanted: str) -> tuple[str, str]:
    """Container and shape of a file to be written.

    Raises:
        DatasetError: The name says nothing, or the container cannot hold the shape.
    """
    if wanted in WRITERS:
        return wanted, PLAIN
    suffixes = [each.lower() for each in path.suffixes if each.lower() != ".gz"]
    last = suffixes[-1] if suffixes else ""
    named = next((name for name, each in WRITERS.items() if last in each.suffixes), "")
    if wanted == "auto":
        if named:
            return named, PLAIN
        what = "its name does not say how to write it"
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
    """A new file that gets the name ``path`` when it is complete, and goes when it is not."""
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
    """Compressed when the name says so; without a time in it, equal examples give equal files."""
    if path.suffix.lower() != ".gz":
        yield raw
        return
    with gzip.GzipFile(path.stem, "wb", 6, raw, mtime=0) as file:
        yield file  # type: ignore[misc] # a GzipFile writes like any binary file


def as_csv(file: IO[bytes], keys: Keys, records: Iterable[Record]) -> None:
    """Comma and newline; only a cell that needs quotes gets them."""
    _rows(file, keys, records, ",")


def as_tsv(file: IO[bytes], keys: Keys, records: Iterable[Record]) -> None:
    """Tab and newline; a cell that holds one of them is quoted as in CSV."""
    _rows(file, keys, records, "\t")


def as_jsonl(file: IO[bytes], _keys: Keys, records: Iterable[Record]) -> None:
    """An object a line."""
    for record in records:
        file.write(_object(record) + b"\n")


def as_json(file: IO[bytes], _keys: Keys, records: Iterable[Record]) -> None:
    """An array with an object a line."""
    before = b"[\n"
    for record in records:
        file.write(before + _object(record))
        before = b",\n"
    file.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def _rows(file: IO[bytes], keys: Keys, records: Iterable[Record], delimiter: str) -> None:
    file.write(_row(keys, delimiter))
    for record in records:
        file.write(_row(record.values(), delimiter))


def _row(cells: Iterable[str], delimiter: str) -> bytes:
    return (delimiter.join(map(_cell, cells)) + "\n").encode()


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _TO_QUOTE.search(text) else text


def _object(record: Record) -> bytes:
    """As itself, or in escapes where UTF-8 cannot hold it."""
    try:
        return _encode(record).encode()
    except UnicodeEncodeError:
        return _encode_ascii(record).encode()
