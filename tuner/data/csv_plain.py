"""The plain rows of a CSV text, many in one go, by splitting it at its quotes.

With one quote in place of each quoted piece, a text is split into rows and cells without another
look at its characters: of ``"a, b",c`` is left ``",c``, and a doubled quote leaves one more. A cell
that is left as quotes alone, or without any, is a good one. The first row with another ends what
can be taken so: behind it, who knows which pieces are quoted.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PAIR = 2


class Taken(NamedTuple):
    """Rows that stand one behind the other, column by column; blank lines are none.

    Attributes:
        firsts: The cells of one wanted column.
        seconds: Those of the other.
        lines: How many line ends stand before each row.
        end: Where the next row starts in the text.
    """

    firsts: list[str]
    seconds: list[str]
    lines: Sequence[int]
    end: int


def take(text: str, delimiter: str, width: int, wanted: tuple[int, int]) -> Taken:
    """Take the rows a text begins with, up to the first that is not plain or not whole.

    Args:
        text: Where a row starts.
        delimiter: What parts the cells.
        width: How many a row has; more than one.
        wanted: The indexes of two of them.
    """
    pieces = text.split('"')
    left, quoted = '"'.join(pieces[::2]), pieces[1::2]
    rows = _rows(left)
    if width == _PAIR:
        firsts, seconds, count = _take_pairs(rows, iter(quoted), delimiter)
        if wanted[0]:
            firsts, seconds = seconds, firsts
    else:
        firsts, seconds, count = _take_wide(rows, iter(quoted), delimiter, width, wanted)
    size = _size(left, count)
    end = size + sum(map(len, islice(quoted, left.count('"', 0, size)))) + left.count('"', 0, size)
    lines: Sequence[int] = range(count)
    if len(firsts) < count or text.count("\n", 0, end) > count:
        lines = list(_line_ends(rows[:count], iter(quoted)))
    return Taken(firsts, seconds, lines, end)


def _rows(left: str) -> list[str]:
    """Whole rows, up to the first with a bare carriage return."""
    plain = left.replace("\r\n", "\n") if "\r" in left else left
    bare = plain.find("\r")
    rows = (plain if bare < 0 else plain[:bare]).split("\n")
    rows.pop()
    return rows


def _size(left: str, count: int) -> int:
    """How many characters the first rows have."""
    if count == left.count("\n"):
        return left.rfind("\n") + 1
    return sum(map(len, islice(left.split("\n"), count))) + count


def _take_pairs(
    rows: list[str], pieces: Iterator[str], delimiter: str
) -> tuple[list[str], list[str], int]:
    """The cells of rows of two, and how many rows there were, blank ones too."""
    firsts: list[str] = []
    seconds: list[str] = []
    both, blank = f'"{delimiter}"', 0
    for row in rows:
        if row == both:
            firsts.append(next(pieces))
            seconds.append(next(pieces))
            continue
        first, part, second = row.partition(delimiter)
        if not part and not row.strip():
            blank += 1
            continue
        if not part or delimiter in second:
            break
        if '"' in row:
            if not (_is_plain(first) and _is_plain(second)):
                break
            first, second = _text(first, pieces), _text(second, pieces)
        firsts.append(first)
        seconds.append(second)
    return firsts, seconds, len(firsts) + blank


def _take_wide(
    rows: list[str], pieces: Iterator[str], delimiter: str, width: int, wanted: tuple[int, int]
) -> tuple[list[str], list[str], int]:
    """The same for rows of any width."""
    firsts: list[str] = []
    seconds: list[str] = []
    blank = 0
    for row in rows:
        cells = row.split(delimiter)
        if len(cells) == 1 and not row.strip():
            blank += 1
            continue
        if len(cells) != width:
            break
        if '"' in row:
            if not all(map(_is_plain, cells)):
                break
            cells = [_text(cell, pieces) for cell in cells]
        firsts.append(cells[wanted[0]])
        seconds.append(cells[wanted[1]])
    return firsts, seconds, len(firsts) + blank


def _is_plain(cell: str) -> bool:
    """Whether it is left as quotes alone, or without any."""
    return '"' not in cell or not cell.strip('"')


def _text(cell: str, pieces: Iterator[str]) -> str:
    """What stood in a plain cell; it takes a piece for each quote."""
    return '"'.join(islice(pieces, len(cell))) if cell.startswith('"') else cell


def _line_ends(rows: list[str], pieces: Iterator[str]) -> Iterator[int]:
    """How many line ends stand before each row that is not blank."""
    at = 0
    for row in rows:
        if row.strip():
            yield at
        at += 1 + sum(piece.count("\n") for piece in islice(pieces, row.count('"')))
