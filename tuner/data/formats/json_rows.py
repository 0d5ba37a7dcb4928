"""JSON values on their way to batches: their shape, what is wrong with them, and where."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.data import Batch
from tuner.data.formats.flaws import described
from tuner.data.formats.json_places import (
    MAX_DIGITS,
    character_index,
    deep_index,
    line_and_column,
    long_number_index,
    repeated_key,
    value_index,
)
from tuner.data.formats.quick import quick
from tuner.data.formats.shapes import PLAIN, Flaw, Parts, Piece, reader, shape_of
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tuner.data import Field, Source

DEEP = 500
"""The level that is named when Python's parser gives up, which it does at a thousand or later."""

SPACED_KEY = re.compile(r'"[ \t\r\n]+:')


class Wrong(NamedTuple):
    """What is wrong with a text of JSON, and at which of its characters."""

    at: int
    what: str
    fix: str
    rule: str


_decoder = json.JSONDecoder()
scan: Any = _decoder.scan_once  # type: ignore[attr-defined] # typeshed leaves it out
"""Called with a text and where to begin: the value and where it ends; StopIteration without one.

NaN and Infinity are numbers to it, as they are to Python's parser, so that they are named as such.
"""


class Rows:
    """Collects the rows of one file until a batch is full."""

    def __init__(self, path: Path, source: Source) -> None:
        """Nothing is known of the shape before the first object."""
        self._path = str(path)
        self._source = source
        self._read: Any = None
        self.quick: Callable[[Any], tuple[str, str, int] | None] = _not_yet
        self._clear()

    def _clear(self) -> None:
        self.problems: list[Problem] = []
        self.text_inputs: list[str] = []
        self.outputs: list[str] = []
        self.lines: list[int] = []
        self.raw: list[str] = []
        self._columns: dict[int, int] = {}
        self._nth: dict[int, int] = {}

    def take(self) -> Batch:
        """What was collected; the next batch is empty."""
        locate = _Locate(self._read, self._source, self.raw, self.lines, self._columns, self._nth)
        batch = Batch(self._path, self.text_inputs, self.outputs, self.lines, self.problems, locate)
        self._clear()
        return batch

    def add(self, raw: str, line: int, column: int = 1) -> None:
        """Read one value, if there is one; ``raw`` is it alone, beginning at a line and column."""
        if not raw.strip():
            return
        read = parse(raw)
        if isinstance(read, Wrong):
            self.note(raw, (line, column), read)
        else:
            self.add_value(read[0], raw, line, column)

    def add_value(self, value: Any, raw: str, line: int, column: int) -> None:
        """Take a value that was read from ``raw``."""
        place = line, column
        twice = _repeated(value, raw)
        if twice:
            self.note(raw, place, twice)
        elif not isinstance(value, dict):
            what = f"is {described(value)} where an object is needed"
            first, second = self._source.columns
            fix = f'write {{"{first}": "...", "{second}": "..."}}'
            self.note(raw, place, Wrong(value_index(raw, ()), what, fix, "not-an-object"))
        else:
            self._read = self._read or self._chosen(value)
            for nth, part in enumerate(self._read(value, self._source)):
                if isinstance(part, Flaw):
                    at = value_index(raw, part.path)
                    self.note(raw, place, Wrong(at, *part[1:]))
                else:
                    self._add_part(part, raw, place, nth)

    def add_quick(self, read: tuple[str, str, int], raw: str, line: int, column: int) -> None:
        """Take what the quick way made of ``raw``."""
        if column != 1:
            self._columns[len(self.raw)] = column
        self.text_inputs.append(read[0])
        self.outputs.append(read[1])
        self.lines.append(line)
        self.raw.append(raw)

    def _add_part(self, part: Parts, raw: str, place: tuple[int, int], nth: int) -> None:
        if nth:
            self._nth[len(self.raw)] = nth
        self.add_quick((part.text_input, part.output, 0), raw, *place)

    def note(self, raw: str, place: tuple[int, int], wrong: Wrong) -> None:
        """Take what is wrong with ``raw``, which begins at ``place``."""
        line, column = line_and_column(raw, wrong.at, *place)
        self.problems.append(Problem(self._path, line, column, wrong.what, wrong.fix, wrong.rule))

    def _chosen(self, record: dict[str, Any]) -> Any:
        """How to read all records of the file, as the first of them shows."""
        shape = shape_of(record, self._source) or PLAIN
        self.quick = quick(shape, self._source.columns)
        return reader(shape)


class _Locate:
    """Finds a character of a row by reading the row again."""

    def __init__(  # noqa: PLR0913, PLR0917 -- the columns of a batch
        self,
        read: Any,
        source: Source,
        raw: Sequence[str],
        lines: Sequence[int],
        columns: Mapping[int, int],
        nth: Mapping[int, int],
    ) -> None:
        self._read = read
        self._source = source
        self._raw = raw
        self._lines = lines
        self._columns = columns
        self._nth = nth

    def __call__(self, row: int, field: Field, offset: int = 0) -> tuple[int, int]:
        raw = self._raw[row]
        parts = self._read(_decoder.decode(raw), self._source)[self._nth.get(row, 0)]
        pieces = parts.inputs if field == "text_input" else parts.outputs
        piece, offset = _piece_at(pieces, offset)
        at = character_index(raw, value_index(raw, piece.path), offset)
        return line_and_column(raw, at, self._lines[row], self._columns.get(row, 1))


def _not_yet(_value: Any) -> None:
    """The quick way, before the shape is known."""


def parse(raw: str) -> tuple[Any] | Wrong:
    """The value of a text that holds nothing else."""
    try:
        return (_decoder.decode(raw),)
    except json.JSONDecodeError as error:
        return malformed(error.msg, error.pos)
    except RecursionError:
        return too_deep(raw)
    except ValueError:
        return too_long(raw)


def malformed(said: str, at: int) -> Wrong:
    """What the parser said of something that is no JSON."""
    fix = "write one whole object a row, keys and texts in double quotes"
    said = said[:1].lower() + said[1:].removesuffix(" starting at")
    return Wrong(at, f"is not JSON: {said}", fix, "bad-json")


def too_deep(raw: str) -> Wrong:
    """Python's parser gave up, and so might the next program."""
    what, fix = "is nested too deep to be read", "keep the two texts and drop the rest"
    return Wrong(deep_index(raw, DEEP), what, fix, "bad-json")


def too_long(raw: str) -> Wrong:
    """Python converts no number so long."""
    what, fix = f"a number has more than {MAX_DIGITS:,} digits", "keep the two texts, drop the rest"
    return Wrong(long_number_index(raw), what, fix, "bad-json")


def _repeated(value: Any, raw: str) -> Wrong | None:
    """A key that is there twice; counted first, which is quick, as one shows in the count."""
    if raw.count('":') == _members(value) and not SPACED_KEY.search(raw):
        return None
    twice = repeated_key(raw)
    if not twice:
        return None
    what = f"the key {twice[0]!r} is there twice"
    return Wrong(twice[1], what, "keep one of the two", "repeated-key")


def _members(value: Any) -> int:
    """How many keys there are in a value, at every level."""
    if isinstance(value, dict):
        return len(value) + sum(map(_members, value.values()))
    return sum(map(_members, value)) if isinstance(value, list) else 0


def _piece_at(pieces: Sequence[Piece], offset: int) -> tuple[Piece, int]:
    """The piece of the file that holds a character, or that is next to it when that is ours."""
    for index, piece in enumerate(pieces):
        is_last = not any(each.path for each in pieces[index + 1 :])
        if piece.path and (offset < len(piece.text) or is_last):
            return piece, min(offset, len(piece.text))
        offset = max(offset - len(piece.text), 0)
    return pieces[-1], offset
