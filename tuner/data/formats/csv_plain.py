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
        lines: Where each row starts.
        end: Where the next row starts in the text.
        passed: How many line ends stand before that.
    """

    firsts: list[str]
    seconds: list[str]
    lines: Sequence[int]
    end: int
    passed: int


def take(text: str, line: int, delimiter: str, width: int, wanted: tuple[int, int]) -> Taken:
    """Take the rows a text begins with, up to the first that is not plain or not whole.

    Args:
        text: Where a row starts.
        line: The number of its first line.
        delimiter: What parts the cells.
        width: How many a row has; more than one.
        wanted: The indexes of two of them.
    """
    pieces = text.split('"')
    left, quoted = '"'.join(pieces[::2]), pieces[1::2]
    rows = _rows(left)
    if width == _PAIR and sum(wanted) == 1:
        firsts, seconds, count = _take_pairs(rows, iter(quoted), delimiter)
        if wanted[0]:
            firsts, seconds = seconds, firsts
    else:
        firsts, seconds, count = _take_wide(rows, iter(quoted), delimiter, width, wanted)
    size = _size(left, count)
    quotes = left.count('"', 0, size)
    end = size + sum(map(len, islice(quoted, quotes))) + quotes
    passed = count
    lines: Sequence[int] = range(line, line + count)
    if len(firsts) < count or "\n" in "".join(quoted):
        passed = text.count("\n", 0, end)
        lines = list(_lines(rows[:count], iter(quoted), line))
    return Taken(firsts, seconds, lines, end, passed)


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
        one = next(pieces) if first == '"' else _text(first, pieces)
        other = next(pieces) if second == '"' else _text(second, pieces)
        if one is None or other is None:
            break
        firsts.append(one)
        seconds.append(other)
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
            texts = [_text(cell, pieces) for cell in cells]
            if None in texts:
                break
            cells = [text for text in texts if text is not None]
        firsts.append(cells[wanted[0]])
        seconds.append(cells[wanted[1]])
    return firsts, seconds, len(firsts) + blank


def _text(cell: str, pieces: Iterator[str]) -> str | None:
    """What stood in a cell, None if it is not plain; it takes a piece for each quote."""
    if '"' not in cell:
        return cell
    return None if cell.strip('"') else '"'.join(islice(pieces, len(cell)))


def _lines(rows: list[str], pieces: Iterator[str], line: int) -> Iterator[int]:
    """Where each row that is not blank starts."""
    for row in rows:
        if row.strip():
            yield line
        line += 1 + sum(piece.count("\n") for piece in islice(pieces, row.count('"')))
