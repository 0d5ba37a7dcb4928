"""The rows of a CSV file out of its text, one bad row costing no other."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tuner.data import BATCH_ROWS, Batch
from tuner.data.formats.blocks import MAX_ROW
from tuner.data.formats.csv_faults import malformed, ragged, too_large
from tuner.data.formats.csv_plain import take
from tuner.data.formats.csv_rows import TEXT_AFTER, UNCLOSED, Fault, is_tidy, place_in, plain, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.data import Field, Locate
    from tuner.data.formats.blocks import Block
    from tuner.data.formats.csv_rows import Row
    from tuner.errors import Problem

_SPARE = 2 * MAX_ROW
_GAIN = 1
"""Characters that may be looked at twice, at first and more for each that is done with: what a
quote that is never closed makes us read is read again, and a file may hold a million of them."""
_WINDOW, _LEAST_WINDOW = 2**18, 2**12
"""Characters that are split in one go: many while all rows are plain, few behind one that is not."""
_LONGEST_PAUSE = 63
"""Rows that are taken one by one before it is tried again."""
_NEWLINE = re.compile(r"\n")
_SAMPLE = 1000
"""Lines that are looked at to tell whether a quote is never closed or a row large."""
_TO_THE_QUOTE = re.compile(r'[^"]*+(?:""[^"]*+)*+"')


class Table(NamedTuple):
    """What the first row says of the others.

    Attributes:
        path: The file, as the user named it.
        delimiter: What parts the cells.
        width: How many cells a row has.
        wanted: The indexes of the input and the output; None when one is not there, and rows are
            looked at but not taken.
    """

    path: str
    delimiter: str
    width: int
    wanted: tuple[int, int] | None


class Found:
    """The rows of a text so far, column by column."""

    def __init__(self) -> None:
        self.text_inputs: list[str] = []
        self.outputs: list[str] = []
        self.lines: Sequence[int] = ()
        self.problems: list[Problem] = []

    @property
    def is_full(self) -> bool:
        """Whether a batch is better begun anew."""
        return len(self.text_inputs) + len(self.problems) >= BATCH_ROWS

    def add(self, text_inputs: list[str], outputs: list[str], lines: Sequence[int]) -> None:
        """Take some rows."""
        self.text_inputs += text_inputs
        self.outputs += outputs
        if not self.lines:
            self.lines = lines
        elif isinstance(self.lines, list):
            self.lines += lines
        else:
            self.lines = [*self.lines, *lines]


class Scanner:
    """Takes blocks and gives batches; of the text, it keeps the row that is not ended yet."""

    def __init__(self, table: Table) -> None:
        """Begin with no text."""
        self._table = table
        self._text = ""
        self._line = 1
        self._bad: dict[int, Problem] = {}
        self._spare = _SPARE
        self._skips = False
        self._window, self._pause, self._paused = _WINDOW, 0, 0

    @property
    def is_between_rows(self) -> bool:
        """Whether the next block begins with a row."""
        return not self._text and not self._skips

    @property
    def needs(self) -> int:
        """How many characters had better come next, for a long row not to be begun too often."""
        return min(len(self._text), MAX_ROW + 1 - len(self._text))

    def scan(self, blocks: Sequence[Block], *, is_last: bool) -> Iterator[Batch]:
        """The rows that end in the next blocks; the last blocks end all."""
        if blocks and not self._text:
            self._line = blocks[0].line
        self._text = text = self._text + "".join(block.text for block in blocks)
        for block in blocks:
            self._bad |= block.problems
        self._window, first = _WINDOW, self._line
        found = Found()
        at = self._skip() if self._skips else 0
        while at < len(text):
            after = self._plain_rows(found, at) or self._row(found, at, is_last=is_last)
            if after is None:
                break
            at = after
            if found.is_full:
                yield self._batch(found, first)
                found = Found()
        if is_last:
            found.problems += self._bad.values()
        yield self._batch(found, first)
        self._text = text[at:]

    def _batch(self, found: Found, line: int) -> Batch:
        rows = found.text_inputs, found.outputs, found.lines
        locate = _locator(self._table, self._text, line, found.lines)
        return Batch(self._table.path, *rows, found.problems, locate)

    def _plain_rows(self, found: Found, at: int) -> int | None:
        """Take many rows at once; where to go on, or None when the next is not a plain one.

        Where rows are not plain, less is looked at in one go, and not before every row.
        """
        wanted, text = self._table.wanted, self._text
        if not wanted or self._bad or self._paused or self._table.width == 1:
            self._paused = max(0, self._paused - 1)
            return None
        whole = len(text) - at <= self._window
        stop = len(text) if whole else text.rfind("\n", at, at + self._window) + 1
        taken = take(text[at:stop], self._line, self._table.delimiter, self._table.width, wanted)
        is_all = at + taken.end == stop
        self._window = min(_WINDOW, 2 * self._window) if is_all else _LEAST_WINDOW
        self._pause = 0 if taken.end else min(_LONGEST_PAUSE, 2 * self._pause + 1)
        self._paused = self._pause
        if not taken.end:
            return None
        found.add(taken.firsts, taken.seconds, taken.lines)
        return self._advance(at, at + taken.end, taken.passed)

    def _row(self, found: Found, at: int, *, is_last: bool) -> int | None:
        """Take the row at ``at``; where to go on, or None when its end is not in the text."""
        after = self._any_row(found, at, is_last=is_last)
        if after is None:
            return None
        passed = self._text.count("\n", at, after)
        lines = range(self._line, self._line + max(1, passed)) if self._bad else ()
        found.problems += [self._bad.pop(line) for line in lines if line in self._bad]
        return self._advance(at, after, passed)

    def _any_row(self, found: Found, at: int, *, is_last: bool) -> int | None:
        """Take a row that may be good, blank, ragged, broken, or not ended yet."""
        stop = len(self._text) if self._spare > 0 else self._line_end(at)
        row = walk(self._text, at, self._table.delimiter, stop, self._table.width + 1)
        if not row.fault:
            return self._whole(found, at, row)
        if row.fault.kind == UNCLOSED and stop == len(self._text):
            if stop - at <= MAX_ROW and not is_last:
                return None
            if stop - at > MAX_ROW and not self._holds_rows(at, stop):
                found.problems.append(too_large(self._table.path, self._line))
                self._skips = True
                return stop
        return self._fault(found, at, row.fault, stop)

    def _fault(self, found: Found, at: int, fault: Fault, stop: int) -> int:
        """Say what ends a row too early, and go on at the line after the one it begins on."""
        kind, place = fault.kind, fault.at
        if kind == TEXT_AFTER and self._opens(fault.opened, fault.at - 1):
            kind, place = UNCLOSED, fault.opened
        problem = malformed(self._table.path, self._place(at, place), kind)
        if found.problems[-1:] != [problem]:  # several rows may run into the same quote
            found.problems.append(problem)
        after = self._line_end(at)
        seen = stop if fault.kind == UNCLOSED else fault.at
        self._spare -= max(0, seen - after)
        return after

    def _whole(self, found: Found, at: int, row: Row) -> int:
        """A row whose end is known, but of another width, or too large."""
        path, width, cells = self._table.path, self._table.width, row.cells
        line_end = self._line_end(at)
        if row.end - at > MAX_ROW:
            found.problems.append(too_large(path, self._line))
        elif _is_blank(self._text, row):
            pass
        elif row.width == width:
            self._good(found, at, row)
        elif row.end > line_end and self._holds_rows(at, row.end):
            opened = next((start for start, end in cells if end > line_end), cells[-1][0])
            return self._fault(found, at, Fault(UNCLOSED, opened, opened), row.end)
        else:
            place = cells[width][0] if row.width > width else cells[-1][1]
            found.problems.append(ragged(path, self._place(at, place), row, width))
        return row.end

    def _good(self, found: Found, at: int, row: Row) -> None:
        """Take a row, unless a line of it could not be decoded."""
        passed = self._text.count("\n", at, row.end)
        lines = range(self._line, self._line + max(1, passed)) if self._bad else ()
        if self._table.wanted and not any(line in self._bad for line in lines):
            one, other = (plain(self._text[slice(*row.cells[each])]) for each in self._table.wanted)
            found.add([one], [other], [self._line])

    def _skip(self) -> int:
        """Go on behind a row that is too large: at the line after the one its quote is closed on."""
        close = _TO_THE_QUOTE.match(self._text)
        after = self._line_end(close.end() - 1) if close else len(self._text)
        self._skips = not close
        return self._advance(0, after, self._text.count("\n", 0, after))

    def _advance(self, at: int, after: int, lines: int) -> int:
        self._line += lines
        self._spare += _GAIN * (after - at)
        return after

    def _line_end(self, at: int) -> int:
        return self._text.find("\n", at) + 1 or len(self._text)

    def _place(self, at: int, place: int) -> tuple[int, int]:
        """Line and column of a character of the row at ``at``."""
        return place_of(self._text, at, self._line, place)

    def _opens(self, opened: int, quote: int) -> bool:
        """Whether a quote that should close a cell looks like one that opens the next row's."""
        is_first = self._text[quote - 1] in ("\n", self._table.delimiter)
        return is_first and self._text.find("\n", opened, quote) >= 0

    def _holds_rows(self, at: int, stop: int) -> bool:
        """Whether a line of a long row, but its first, is a row of its own by its looks."""
        for _ in range(_SAMPLE):
            at = self._line_end(at)
            if at >= stop:
                return False
            row = walk(self._text, at, self._table.delimiter, self._line_end(at), self._table.width)
            if not row.fault and row.width == self._table.width and is_tidy(self._text, row):
                return True
        return False


def _is_blank(text: str, row: Row) -> bool:
    return row.width == 1 and not plain(text[slice(*row.cells[0])]).strip()


def place_of(text: str, at: int, line: int, place: int) -> tuple[int, int]:
    """Line and column of a character of the row that is at ``at``, on ``line``."""
    before = text.rfind("\n", at, place)
    return line + text.count("\n", at, place), place - (before if before >= 0 else at - 1)


def _locator(table: Table, text: str, first: int, lines: Sequence[int]) -> Locate:
    """Where the cells of some rows are in a text that begins on the line ``first``."""
    starts = cache(lambda: [0, *(each.end() for each in _NEWLINE.finditer(text))])

    def locate(row: int, field: Field, offset: int = 0) -> tuple[int, int]:
        assert table.wanted  # noqa: S101 -- else there are no rows
        line = lines[row]
        at = starts()[line - first]
        cell = walk(text, at, table.delimiter).cells[table.wanted[field == "output"]]
        return place_of(text, at, line, place_in(text, cell, offset))

    return locate
