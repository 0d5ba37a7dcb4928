"""Tuning examples: reading, checking and preparing them; here, the table of readers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.types import Example

    Row: TypeAlias = Example | Problem


class Columns(NamedTuple):
    """Which column, or key, holds what."""

    text_input: str = "text_input"
    output: str = "output"


USUAL = Columns()


class Reader(NamedTuple):
    """One row of the table: where the code is, and how its files are recognised.

    The function takes ``(path, columns, encoding)`` and yields, in file order, an Example for
    every good row and a Problem for every bad one; it never raises for what is in the file.
    """

    function: str
    suffixes: tuple[str, ...]
    first_character: str
    """What the content of such a file begins with; empty for anything."""


READERS = {
    "jsonl": Reader("tuner.data.jsonl:read", (".jsonl", ".ndjson", ".json"), "{"),
    "csv": Reader("tuner.data.csv:read", (".csv", ".tsv"), ""),
}


def load_examples(
    path: Path,
    columns: Columns = USUAL,
    format: str = "auto",  # noqa: A002 -- the spec's own word
    encoding: str = "utf-8",
) -> Iterator[Row]:
    """Read a file of examples: every row, as an Example or as what is wrong with it.

    Args:
        path: The file; one that cannot be read yields one Problem.
        columns: Where the input and the output are.
        format: A key of ``READERS``; ``auto`` goes by the name, then by the first character.
        encoding: Any that extends ASCII; a byte-order mark of UTF-8 is allowed.
    """
    try:
        name = detect(path) if format == "auto" else format
        module, _, function = READERS[name].function.partition(":")
        yield from getattr(import_module(module), function)(path, columns, encoding)
    except OSError as error:
        what = f"cannot be read: {(error.strerror or str(error)).lower()}"
        yield Problem(str(path), 0, 0, what, "check training_data.path", "unreadable")


def detect(path: Path) -> str:
    """The key of ``READERS`` for a file, by its name or else by how its content begins."""
    for name, reader in READERS.items():
        if path.suffix.lower() in reader.suffixes:
            return name
    with path.open("rb") as file:
        start = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    return next(
        name
        for name, reader in READERS.items()
        if start.startswith(reader.first_character.encode())
    )
