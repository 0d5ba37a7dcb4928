"""Where the cells of one CSV row are, or why they cannot be told: the rules, to the letter.

They are those of Python's ``csv.reader(strict=True)``: a cell that begins with a quote ends with
one, and holds quotes only doubled; in any other cell a quote is a character like another.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

_QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
_END = re.compile(r"\r*(?:\n|\Z)")


MOST_CELLS = 2**18
"""Columns that can be told by name."""


class Fault(NamedTuple):
    """Why a row ends too early.

    Attributes:
        kind: A quote is never closed, text follows a closing quote, or a bare carriage return.
        at: The character of the text that is at fault.
        opened: Where the cell begins.
    """

    kind: str
    at: int
    opened: int


UNCLOSED, TEXT_AFTER, BARE_RETURN = "unclosed", "text after", "bare return"


class Row(NamedTuple):
    """One row of a text.

    Attributes:
        cells: Where the first of them begin and end, their quotes included.
        width: How many there are.
        end: Where the next row begins; of no meaning beside a fault.
        fault: None for a good row.
    """

    cells: list[tuple[int, int]]
    width: int
    end: int
    fault: Fault | None = None


def walk(
    text: str, start: int, delimiter: str, end: int | None = None, most: int = MOST_CELLS
) -> Row:
    """Find the cells of a row.

    Args:
        text: Where the row is.
        start: Where it begins.
        delimiter: What parts the cells.
        end: From where on nothing is read.
        most: How many cells are kept; of a hundred bytes each.
    """
    stop = len(text) if end is None else end
    bare = _bare(delimiter)
    cells: list[tuple[int, int]] = []
    at, count = start, 0
    while True:
        quoted = text.startswith('"', at, stop)
        found = (_QUOTED if quoted else bare).match(text, at, stop)
        if not found:
            return Row(cells, count, stop, Fault(UNCLOSED, at, at))
        count += 1
        if count <= most:
            cells.append(found.span())
        after = found.end()
        if text.startswith(delimiter, after, stop):
            at = after + 1
        elif over := _END.match(text, after, stop):
            return Row(cells, count, over.end())
        else:
            kind = BARE_RETURN if text.startswith("\r", after) else TEXT_AFTER
            return Row(cells, count, stop, Fault(kind, after, at))


def plain(cell: str) -> str:
    """The text of a cell as it is written."""
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


def is_tidy(text: str, row: Row) -> bool:
    """Whether no cell holds a quote but a quoted one: no piece of another row is likely so."""
    return all(
        text.startswith('"', start) or '"' not in text[start:end] for start, end in row.cells
    )


def place_in(text: str, cell: tuple[int, int], offset: int) -> int:
    """Where in ``text`` the character ``offset`` of a cell's plain text is."""
    start, end = cell
    if not text.startswith('"', start, end):
        return start + offset
    at = start + 1
    while quote := text.find('"', at, end - 1) + 1:
        if offset <= quote - 1 - at:
            break
        offset -= quote - at
        at = quote + 1
    return at + offset


@cache
def _bare(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf"[^{re.escape(delimiter)}\r\n]*+")
