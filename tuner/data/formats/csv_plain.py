"""The plain rows of a CSV text, many in one go, by splitting it at its quotes.

With one quote in place of each quoted piece, a text is split into rows and cells without another
look at its characters: of ``"a, b",c`` is left ``",c``, and a doubled quote leaves one more. A cell
that is left as quotes alone, or without any, is a good one. The first row with another ends what
can be taken so: behind it, who knows which pieces are quoted.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, compress, islice, repeat
from operator import contains
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
        firsts, seconds, count = _take_pairs(rows, quoted, delimiter)
        if wanted[0]:
            firsts, seconds = seconds, firsts
    else:
        firsts, seconds, count = _take_wide(rows, iter(quoted), delimiter, width, wanted)
    end = _end(text, left, pieces, count)
    passed = text.count("\n", 0, end)
    lines: Sequence[int] = range(line, line + count)
    if passed > count:
        lines = _lines(rows[:count], quoted, line)
    if len(firsts) < count:
        lines = [
            each for each, row in zip(lines, rows, strict=False) if delimiter in row or row.strip()
        ]
    return Taken(firsts, seconds, lines, end, passed)


def _rows(left: str) -> list[str]:
    """Whole rows, up to the first with a bare carriage return."""
    plain = left.replace("\r\n", "\n") if "\r" in left else left
    bare = plain.find("\r")
    rows = (plain if bare < 0 else plain[:bare]).split("\n")
    rows.pop()
    return rows


def _end(text: str, left: str, pieces: list[str], count: int) -> int:
    """Where in the text its first so many rows end."""
    if count == left.count("\n"):  # what is behind them is shorter
        tail = left[left.rfind("\n") + 1 :]
        is_open = len(pieces) % 2 == 0
        quotes = tail.count('"') + is_open
        behind = pieces[1::2][-quotes:] if quotes else ()
        return len(text) - len(tail) - quotes - sum(map(len, behind))
    size = sum(map(len, islice(left.split("\n"), count))) + count
    quotes = left.count('"', 0, size)
    return size + sum(map(len, pieces[1 : 2 * quotes : 2])) + quotes


def _take_pairs(
    rows: list[str], quoted: list[str], delimiter: str
) -> tuple[list[str], list[str], int]:
    """The cells of rows of two, and how many rows there were, blank ones too."""
    if set(map(str.count, rows, repeat(delimiter))) == {1}:
        pieces = iter(quoted)
        texts = [
            cell if '"' not in cell else next(pieces) if cell == '"' else _text(cell, pieces)
            for cell in delimiter.join(rows).split(delimiter)
        ]
        if None not in texts:
            return texts[::2], texts[1::2], len(rows)  # type: ignore[return-value]
    return _take_wide(rows, iter(quoted), delimiter, _PAIR, (0, 1))


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


def _lines(rows: list[str], quoted: list[str], line: int) -> list[int]:
    """Where each row starts, of which some hold line ends."""
    last = list(accumulate(map(str.count, rows, repeat('"'))))
    several = map(contains, quoted, repeat("\n"))
    lines: list[int] = []
    for index in compress(range(last[-1]), several):
        row = bisect_right(last, index)
        lines += range(line + len(lines), line + row + 1)
        line += quoted[index].count("\n")
    return [*lines, *range(line + len(lines), line + len(rows))]
