"""The rows of a large CSV file out of its bytes: where its quotes, delimiters and line ends are tells all.

A quote opens a cell when an even number of quotes is before it, else it closes one; a delimiter or a
line end counts when that number is even. This holds up to the first quote that neither stands at an
end of its cell nor beside its double. Rows before it are proved so, and no other character is looked
at; what is behind is for ``csv_text`` to explain.
"""

from __future__ import annotations

from array import array
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from tuner.data import Batch
from tuner.data.formats.csv_rows import place_in, walk
from tuner.data.formats.csv_text import place_of
from tuner.examples import Column
from tuner.spans import PADDING, Spans, joined, rows_at, set_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tuner.data import Field, Locate
    from tuner.data.formats.blocks import Block
    from tuner.data.formats.csv_text import Table

    Bytes: TypeAlias = NDArray[np.uint8]
    Flags: TypeAlias = NDArray[np.bool_]
    Places: TypeAlias = NDArray[np.int64]

_QUOTE, _RETURN, _NEWLINE = b'"\r\n'
_ASCII, _LEAD = 0x80, 0xC0
"""What bytes of letters beyond ASCII have at least, and those that such a letter begins with."""
_FEW = 4
"""Letters beyond ASCII a row, up to which it pays to decode the rows alone that hold them."""
_LITTLE = 2
"""A block is kept unless so many times the wanted cells are less than all of it."""
_FEW_DOUBLED = 2000
"""Bytes of a block that are left out one by one more quickly than all are looked at."""
_LARGEST = 2**20
"""Bytes of a row that has not ended, up to which it is worth a second look."""


class Taken(NamedTuple):
    """What a block begins with.

    Attributes:
        batch: Its rows, up to the first that is not plain or not whole.
        rest: What is behind them.
        is_stuck: Whether the row that comes next needs a look of another kind, and not only its end.
    """

    batch: Batch
    rest: Block
    is_stuck: bool


def take(block: Block, table: Table) -> Taken:
    """Take the rows that a block begins with; blank lines are none.

    Args:
        block: UTF-8, or nearly so; a row begins where it does.
        table: Of two columns or more, both wanted ones among them, and a delimiter of one byte.
    """
    marks = _marks(block.raw, ord(table.delimiter))
    block.line_ends = len(marks.newlines)
    begins, ends, is_whole = _cells(marks, table.width)
    beyond = _beyond(marks.data, len(begins))
    count = _first_unreadable(block.raw, beyond, begins[:, 0], ends[:, -1])
    is_stuck = not is_whole or count < len(begins)
    begins, ends = begins[:count], ends[:count]
    end = int(ends[-1, -1]) + 1 if count else 0
    before = np.searchsorted(marks.newlines, begins[:, 0])  # line ends
    passed = int(np.searchsorted(marks.newlines, end))
    lines: Sequence[int] = range(block.line, block.line + count)
    if passed != count:
        lines = array("Q", (before + block.line).astype(np.uint64).tobytes())
    one, other = _columns(marks, begins, ends, beyond, table)
    locate = _locator(table, block.raw, begins[:, 0], ends[:, -1], lines)
    batch = Batch(table.path, one, other, lines, (), locate)
    rest = block.behind(end, passed)
    return Taken(batch, rest, is_stuck or len(rest.raw) > _LARGEST)


class _Marks(NamedTuple):
    """What parts the cells of a text.

    Attributes:
        raw: The text.
        data: The same.
        parts: Where the delimiters and line ends are that stand in no quotes, as far as that is sure.
        is_newline: Which of those are line ends.
        newlines: Where all line ends are.
        doubled: Where quotes are that stand for one with the next.
        is_sure: Whether that is all of the text.
    """

    raw: bytes
    data: Bytes
    parts: Places
    is_newline: Flags
    newlines: Places
    doubled: Places
    is_sure: bool


def _marks(raw: bytes, delimiter: int) -> _Marks:
    data = np.frombuffer(raw, np.uint8)
    marked = data == _QUOTE
    marked |= data == delimiter
    marked |= data == _NEWLINE
    if b"\r" in raw:
        marked |= data == _RETURN
    places = set_in(marked)
    kinds = data[places]
    is_quote = kinds == _QUOTE
    is_outside = ~np.logical_xor.accumulate(is_quote) & ~is_quote
    quotes = places.compress(is_quote)
    sure = min(
        _first_misplaced(data, quotes, delimiter),
        _first_bare_return(data, places.compress(is_outside & (kinds == _RETURN))),
    )
    is_part = is_outside & (kinds != _RETURN)
    parts = places.compress(is_part)
    count = int(np.searchsorted(parts, sure))
    closing, opening = quotes[1:-1:2], quotes[2::2]
    return _Marks(
        raw,
        data,
        parts[:count],
        kinds.compress(is_part)[:count] == _NEWLINE,
        places.compress(kinds == _NEWLINE),
        closing.compress(opening == closing + 1),
        sure == len(raw),
    )


def _first_misplaced(data: Bytes, quotes: Places, delimiter: int) -> int:
    """The first quote that neither begins nor ends a cell, nor stands beside its double."""
    may_be_beside = np.zeros(256, np.bool_)
    may_be_beside[[_QUOTE, delimiter, _NEWLINE]] = True
    opening, closing = quotes[::2], quotes[1::2]
    opens = may_be_beside[data[opening - 1]] | (opening == 0)
    may_be_beside[_RETURN] = True
    closes = may_be_beside[data[np.minimum(closing + 1, len(data) - 1)]]
    wrong = (*opening[~opens][:1].tolist(), *closing[~closes][:1].tolist())
    return min(wrong, default=len(data))


def _first_bare_return(data: Bytes, returns: Places) -> int:
    """The first carriage return outside quotes with no line end behind it."""
    bare = data[np.minimum(returns + 1, len(data) - 1)] != _NEWLINE
    return int(returns[bare.argmax()]) if bare.any() else len(data)


def _cells(marks: _Marks, width: int) -> tuple[Places, Places, bool]:
    """Where the cells of the first rows begin and end, and whether only a cut row is behind them."""
    ends, is_last = marks.parts, marks.is_newline
    begins = np.concatenate([np.zeros(1, np.int64), ends + 1])[:-1]
    size = ends - begins - (marks.data[begins] == _RETURN)
    is_blank = (size <= 0) & is_last & np.concatenate([np.ones(1, np.bool_), is_last])[:-1]
    if is_blank.any():
        begins, ends, is_last = begins[~is_blank], ends[~is_blank], is_last[~is_blank]
    count = len(ends) // width
    rows = is_last[: count * width].reshape(count, width)
    is_good = rows[:, -1] & ~rows[:, :-1].any(axis=1)
    is_whole = bool(is_good.all()) and not is_last[count * width :].any()
    if not is_good.all():
        count = int(is_good.argmin())
    shape = (count, width)
    begins, ends = (each[: count * width].reshape(shape) for each in (begins, ends))
    return begins, ends, is_whole and marks.is_sure


def _beyond(data: Bytes, rows: int) -> Places | None:
    """Where letters beyond ASCII are; None when there are many."""
    is_beyond = data >= _ASCII
    many = int(np.count_nonzero(is_beyond)) > _FEW * rows
    return None if many else set_in(is_beyond)


def _foreign(raw: bytes, leads: Places | None, begins: Places, ends: Places) -> list[int]:
    """The spans that hold letters beyond ASCII."""
    if leads is not None:
        return list(rows_at(leads, begins, ends).tolist())
    spans = enumerate(_slices(raw, begins, ends))
    return [row for row, span in spans if not span.isascii()]


def _first_unreadable(raw: bytes, beyond: Places | None, begins: Places, ends: Places) -> int:
    """The first row that cannot be decoded; the number of all when they can."""
    if beyond is not None and _are_readable(raw, beyond):
        return len(begins)
    rows = np.arange(len(begins)) if beyond is None else rows_at(beyond, begins, ends)
    spans = _slices(raw, begins[rows], ends[rows])
    is_good = _is_readable(b"\n".join(spans))
    bad = () if is_good else zip(rows.tolist(), map(_is_readable, spans), strict=True)
    return next((int(row) for row, is_readable in bad if not is_readable), len(begins))


def _are_readable(raw: bytes, beyond: Places) -> bool:
    """Whether letters beyond ASCII can be decoded: all of their bytes in one, and none by itself."""
    found = np.frombuffer(raw, np.uint8)[beyond]
    is_inner = found & _LEAD == _ASCII
    is_behind = beyond[1:] - beyond[:-1] == 1
    is_whole = not is_inner[:1].any() and bool(is_behind[is_inner[1:]].all())
    return is_whole and _is_readable(found.tobytes())


def _is_readable(span: bytes) -> bool:
    try:
        span.decode()
    except UnicodeDecodeError:
        return False
    return True


def _columns(
    marks: _Marks, begins: Places, ends: Places, beyond: Places | None, table: Table
) -> list[Column]:
    """The wanted cells of every row, as they are meant; when they are little of the block, without the rest."""
    cells = [_inner(marks.data, begins[:, each], ends[:, each]) for each in table.wanted or ()]
    leads = None if beyond is None else beyond[marks.data[beyond] >= _LEAD]
    foreign = [_foreign(marks.raw, leads, *each) for each in cells]
    wanted = sum(int(inner_ends.sum() - inner_begins.sum()) for inner_begins, inner_ends in cells)
    buffer, before, until = _undoubled(marks, begins, ends)
    cells = [
        (inner_begins - before[:, each], inner_ends - until[:, each])
        for each, (inner_begins, inner_ends) in zip(table.wanted or (), cells, strict=True)
    ]
    if _LITTLE * wanted < len(marks.raw):
        texts = chain.from_iterable(_slices(buffer, *each) for each in cells)
        buffer, *places = joined(list(texts))
        cells = list(zip(*(np.split(each, len(cells)) for each in places), strict=True))
    has_nul = b"\0" in marks.raw
    spans = (Spans(buffer, *each) for each in cells)
    return [Column(each, rows, has_nul=has_nul) for each, rows in zip(spans, foreign, strict=True)]


def _undoubled(marks: _Marks, begins: Places, ends: Places) -> tuple[bytes, Places, Places]:
    """The block without doubles of quotes, and how many are left out before each cell, and before its end."""
    doubled = marks.doubled[marks.doubled < (ends[-1, -1] if len(ends) else 0)]
    of_cell = begins.ravel().searchsorted(doubled, "right") - 1
    held = np.bincount(of_cell, minlength=begins.size).reshape(begins.shape)
    until = held.cumsum().reshape(begins.shape)
    return _without(doubled, marks), until - held, until


def _without(places: Places, marks: _Marks) -> bytes:
    """A block without some of its bytes, and with padding."""
    if len(places) < _FEW_DOUBLED:
        begins, ends = [0, *(places + 1).tolist()], [*places.tolist(), len(marks.raw)]
        pieces = map(memoryview(marks.raw).__getitem__, map(slice, begins, ends))
        return b"".join([*pieces, PADDING])
    return np.delete(marks.data, places).tobytes() + PADDING


def _inner(data: Bytes, begins: Places, ends: Places) -> tuple[Places, Places]:
    """Where cells begin and end without their quotes, and without a carriage return behind them."""
    ends = ends - ((data[ends - 1] == _RETURN) & (ends > begins))
    is_quoted = data[begins] == _QUOTE
    return begins + is_quoted, ends - is_quoted


def _slices(raw: bytes, begins: Places, ends: Places) -> list[bytes]:
    return [raw[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


def _locator(
    table: Table, raw: bytes, begins: Places, ends: Places, lines: Sequence[int]
) -> Locate:
    def locate(row: int, field: Field, offset: int = 0) -> tuple[int, int]:
        assert table.wanted  # noqa: S101 -- else there are no rows
        text = raw[begins[row] : ends[row]].decode()
        cell = walk(text, 0, table.delimiter).cells[table.wanted[field == "output"]]
        return place_of(text, 0, lines[row], place_in(text, cell, offset))

    return locate
