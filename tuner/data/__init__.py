"""Tuning examples: reading, checking and preparing them; here, what a reader gives, and their table."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

from tuner.data.formats.detection import detect
from tuner.data.sources import absent, files
from tuner.errors import Problem
from tuner.examples import Example, made

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from tuner.data.frame import balance as balance
    from tuner.data.frame import check as check
    from tuner.data.frame import dedupe as dedupe
    from tuner.data.frame import from_frame as from_frame
    from tuner.data.frame import split as split
    from tuner.data.frame import stats as stats
    from tuner.data.frame import to_frame as to_frame

    Row: TypeAlias = Example | Problem

Field: TypeAlias = Literal["text_input", "output"]
Turns: TypeAlias = Literal["refuse", "expand"]

BATCH_ROWS = 4096


class Columns(NamedTuple):
    """Which column, or key, holds what."""

    text_input: str = "text_input"
    output: str = "output"


USUAL = Columns()


class Source(NamedTuple):
    """Where examples are, and how to read them.

    Attributes:
        paths: Files or patterns, read one after the other; their formats may differ.
        columns: Where the input and the output are; the usual ones also stand for "as the shape
            of the rows says", e.g. ``messages``.
        format: A key of ``READERS`` or of ``shapes.SHAPES``; ``auto`` goes by name and content.
        encoding: Of text files; a byte-order mark of UTF-8 is always allowed.
        multi_turn: What becomes of a conversation of several turns: refused, or expanded to an
            example for every answer in it.
    """

    paths: tuple[Path, ...]
    columns: Columns = USUAL
    format: str = "auto"
    encoding: str = "utf-8"
    multi_turn: Turns = "refuse"


class Locate(Protocol):
    """Finds a character of a row in its file."""

    def __call__(self, row: int, field: Field, offset: int = 0) -> tuple[int, int]:
        """Line and column, both 1-based, column in characters; 0 when it is not known.

        Args:
            row: Its index in the batch.
            field: Which of its two texts.
            offset: The character of that text, from 0.
        """


class Batch(NamedTuple):
    """Some rows of one file, in file order, column by column.

    Columns, because a check that looks at a thousand texts in one call costs a tenth of a thousand
    calls. Everything but ``problems`` has the length of ``text_inputs``.

    Attributes:
        path: The file, as the user named it.
        lines: Where each row starts, 1-based; the row's number where a file has no lines.
        problems: What is wrong with the rows that could not be read; they are in no column.
        locate: Where a text stands; valid while the batch is alive.
    """

    path: str
    text_inputs: Sequence[str]
    outputs: Sequence[str]
    lines: Sequence[int]
    problems: Sequence[Problem]
    locate: Locate

    def examples(self) -> Iterator[Example]:
        """The good rows one by one."""
        return made(self.text_inputs, self.outputs, self.lines)

    def unread(self) -> int:
        """How many rows could not be read; one may have several problems."""
        return len({each.line for each in self.problems if each.line})


class Reader(NamedTuple):
    """One row of the table: where the code is, and what its files are called.

    The function takes ``(path, source)`` and yields Batches; it never raises for what is in the
    file. How a file is told by its content stands in ``detection.py``.
    """

    function: str
    suffixes: tuple[str, ...]


READERS = {
    "csv": Reader("tuner.data.formats.csv_shapes:read", (".csv", ".tsv")),
    "jsonl": Reader("tuner.data.formats.jsonl:read", (".jsonl", ".ndjson")),
    "json": Reader("tuner.data.formats.json_array:read", (".json",)),
    "parquet": Reader("tuner.data.formats.parquet:read", (".parquet", ".pq")),
    "arrow": Reader("tuner.data.formats.parquet:read", (".arrow", ".feather")),
    "dataset": Reader("tuner.data.formats.parquet:read_folder", ()),
}
"""Containers, which give records; a shape (``shapes.SHAPES``) makes examples of them."""

FORMATS = (
    "auto",
    *READERS,
    "openai",
    "vertex",
    "sharegpt",
    "prompt-completion",
    "alpaca",
)
"""What ``format`` may say: a container, whose records show their shape, or a shape."""


def read(source: Source) -> Iterator[Batch]:
    """Read files of examples, some thousand rows in memory at a time.

    A file that cannot be read gives one Problem.
    """
    for path in files(source.paths):
        if path.exists() and not (path.is_file() or path.is_dir()):
            yield _unreadable(path, *absent(path))
            continue  # a pipe gives its content once, and is looked at first
        try:
            before = _version(path)
            name = source.format if source.format in READERS else detect(path, source.encoding)
            module, _, function = READERS[name].function.partition(":")
            yield from getattr(import_module(module), function)(path, source)
            if _version(path) != before:
                what, fix = "was written to while it was read", "run this again when it is whole"
                yield _unreadable(path, what, fix)
        except OSError as error:
            what = f"cannot be read: {(error.strerror or str(error)).lower()}"
            yield _unreadable(path, what, "check the path")


def _version(path: Path) -> tuple[int, int]:
    """What is another once somebody has written to a file, or put another in its place."""
    now = path.stat()
    return now.st_ino, now.st_mtime_ns


def _unreadable(path: Path, what: str, fix: str) -> Batch:
    problem = Problem(str(path), 0, 0, what, fix, "unreadable")
    return Batch(str(path), (), (), (), (problem,), nowhere)


def read_rows(source: Source) -> Iterator[Row]:
    """The same row by row, in file order: an Example, or what is wrong with it."""
    for batch in read(source):
        rows: list[Row] = [*batch.examples(), *batch.problems]
        yield from sorted(rows, key=attrgetter("line")) if batch.problems else rows


def nowhere(row: int, field: Field, offset: int = 0) -> tuple[int, int]:  # noqa: ARG001 -- Locate's signature
    """The Locate of a batch whose rows stand in no file."""
    return 0, 0


def __getattr__(name: str) -> Any:
    """Load the functions for notebooks when they are used."""
    if name in ("balance", "check", "dedupe", "from_frame", "split", "stats", "to_frame"):
        return getattr(import_module("tuner.data.frame"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
