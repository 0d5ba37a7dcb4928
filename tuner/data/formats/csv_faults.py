"""What to say of a CSV row that cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.data.formats.blocks import MAX_ROW
from tuner.data.formats.csv_rows import BARE_RETURN, TEXT_AFTER, UNCLOSED
from tuner.errors import Problem

if TYPE_CHECKING:
    from tuner.data.formats.csv_rows import Row

_ADVICE = {
    UNCLOSED: (
        "a quote opened here is never closed",
        'close it, or write a quote that belongs to the text twice: ""',
    ),
    TEXT_AFTER: (
        "text follows a closing quote",
        'write a quote that belongs to the text twice: ""',
    ),
    BARE_RETURN: (
        "a bare carriage return outside quotes",
        "save the file with ordinary line ends, or put quotes around the cell",
    ),
}


def malformed(path: str, place: tuple[int, int], kind: str) -> Problem:
    """A fault of the quotes, or of the line ends, at a line and column."""
    what, fix = _ADVICE[kind]
    return Problem(path, *place, what, fix, "bad-csv")


def ragged(path: str, place: tuple[int, int], row: Row, width: int) -> Problem:
    """A row of another number of cells than ``width``."""
    count = f"{row.width:,} cell{'s' if row.width != 1 else ''}"
    more = 'put quotes around a cell that holds a delimiter: "a, b", with no space before the quote'
    fix = more if row.width > width else "add the missing cells, or delete the row"
    what = f"{count} where the first row has {width:,}"
    return Problem(path, *place, what, fix, "ragged-row")


def too_large(path: str, line: int) -> Problem:
    """A row of several lines that is larger than any that is read."""
    what = f"a row of more than {MAX_ROW // 2**20} MiB"
    fix = "delete it: no model takes a text that long; perhaps a quote in it is never closed"
    return Problem(path, line, 1, what, fix, "row-too-large")
