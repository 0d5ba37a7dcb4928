"""The same looks at thousands of texts, for when there are many: with numpy, and without a Python object a row."""

from __future__ import annotations

from functools import cache, cached_property
from itertools import compress
from operator import contains
from typing import TYPE_CHECKING

import numpy as np

from tuner.data.checks.folding import lowered
from tuner.data.checks.screen import (
    CONTROLS,
    EVERY,
    SEEN,
    Screen,
    decoded,
    encoded,
    fold,
    folded,
)
from tuner.data.checks.within import may_hold
from tuner.examples import Column
from tuner.spans import WORD, Packed, hashes, joined, packed, rows_at, set_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.data import Batch
    from tuner.spans import Buffer, Places, Words

_SPACE, _HYPHEN, _DELETE = ord(" "), ord("-"), b"\x7f"
_ZERO, _TEN = np.uint8(ord("0")), np.uint8(10)
_RARITY = {code: rank for rank, code in enumerate(b"etaoinsrhldcumfpgwybvkxjqz")}
"""Of letters, as in English; whatever else is in a needle is rarer."""
_IS_SEEN = np.isin(np.arange(256), SEEN)
_IS_CONTROL = np.isin(np.arange(256), (0, *CONTROLS))


class WideScreen(Screen):
    """One column of a batch; ``plain`` may hold more than its texts."""

    is_wide = True

    def __init__(self, texts: Sequence[str], beside: WideScreen | None = None) -> None:
        """Take a column, whose texts may stand in the same buffer as those of another."""
        super().__init__(texts)
        self.spans = texts.spans if isinstance(texts, Column) else joined(list(map(encoded, texts)))
        is_shared = beside is not None and beside.spans.buffer is self.spans.buffer
        self._beside = beside if is_shared else None
        self._places: dict[bytes, Places] = {}

    @cached_property
    def plain(self) -> bytes:
        """Where the texts stand."""
        return self.spans.buffer

    @cached_property
    def card_places(self) -> Places:
        """Some bytes of ``plain`` that may be part of a card number."""
        if self._beside:
            return self._beside.card_places
        sample = self._data[::EVERY].copy()
        is_digit, is_blank = (sample - _ZERO < _TEN) | (sample == _HYPHEN), sample == _SPACE
        three = set_in(is_digit[:-2] & is_digit[1:-1] & is_digit[2:])
        parted = set_in(is_digit[:-3] & is_digit[1:-2] & is_blank[2:-1] & is_digit[3:])
        places = np.concatenate([three, three + 2, parted, parted + 3]) * EVERY
        return np.sort(places)

    @cached_property
    def control_places(self) -> Places:
        """Where control characters of ASCII are in ``plain``, other than tab and line ends."""
        if self._beside:
            return self._beside.control_places
        low = set_in(self._data < _SPACE)
        low = low[_IS_CONTROL[self._data[low]]]
        return np.sort(np.concatenate([low, self.places(_DELETE)]))

    @cached_property
    def size(self) -> int:
        """Bytes of all texts, and one between each and the next."""
        return int((self.spans.ends - self.spans.begins).sum()) + max(len(self.spans) - 1, 0)

    @cached_property
    def has_nul(self) -> bool:
        """Whether a text may hold one."""
        if isinstance(self.texts, Column):
            return self.texts.has_nul
        return b"\0" in self.plain[: self.spans.ends[-1]] if len(self.spans) else False

    @cached_property
    def foreign(self) -> Sequence[int]:
        """The rows that are not all ASCII."""
        return self.texts.foreign if isinstance(self.texts, Column) else super().foreign

    @cached_property
    def foreign_plain(self) -> bytes:
        """Their texts, one after the other, in UTF-8."""
        return b"\n".join(self.some(self.foreign))

    def with_controls(self) -> Sequence[int]:
        """The rows that hold a control character of ASCII, other than tab and line ends."""
        return self.rows_at(self.control_places)

    def blank(self) -> Sequence[int]:
        """The rows with nothing but blanks, or with nothing at all."""
        buffer, begins, ends = self.spans
        is_seen = _IS_SEEN[self._data[begins]] | _IS_SEEN[self._data[ends - 1]]
        rows = np.flatnonzero(~is_seen | (begins == ends)).tolist()
        return [row for row in rows if _is_blank(buffer[begins[row] : ends[row]])]

    def longer(self, most: int) -> Sequence[int]:
        """The rows of more than so many characters."""
        rows = np.flatnonzero(self.spans.ends - self.spans.begins > most).tolist()
        return [row for row in rows if len(self.texts[row]) > most]

    def hashes(self) -> Words:
        """A hash of each text."""
        return hashes(self._packed)

    def keys(self) -> Words:
        """A hash of each text that is the same when only case and blanks differ."""
        low, left = lowered(self._packed)
        keys = hashes(low)
        is_space, first = low.data == _SPACE, low.first * WORD
        is_odd = is_space[first] | is_space[first + np.maximum(low.sizes, 1) - 1]
        for places in (set_in(is_space[1:] & is_space[:-1]), *left):
            is_odd[np.searchsorted(first, places, side="right") - 1] = True
        rows = np.flatnonzero(is_odd)
        if len(rows):
            keys[rows] = hashes(packed(joined(self._folded(rows.tolist()))))
        return keys

    def holding(self, others: Screen) -> Sequence[int]:
        """The rows that hold the text of another column in the same row."""
        assert isinstance(others, WideScreen)  # noqa: S101 -- a column of the same batch
        rows = np.flatnonzero(may_hold(self._packed, others.spans)).tolist()
        return list(compress(rows, map(contains, self.some(rows), others.some(rows))))

    def having(self, needle: str) -> Sequence[int]:
        """The rows in which ``needle`` begins, which is ASCII; that there is none is told quickly."""
        places = self.places(needle.encode())
        return self.rows_at(places) if len(places) else ()

    def places(self, needle: bytes) -> Places:
        """Where some bytes of ``plain`` begin, which hold no NUL."""
        if self._beside:
            return self._beside.places(needle)
        if needle not in self._places:
            self._places[needle] = self._search(needle)
        return self._places[needle]

    def _search(self, needle: bytes) -> Places:
        if len(needle) == 1:
            is_there = needle in self.plain
            return set_in(self._data == ord(needle)) if is_there else np.zeros(0, np.int64)
        at = _rarest(needle)
        found = self.places(needle[at : at + 1]) - at
        for each, code in enumerate(needle):  # in what is behind the texts it is not found
            if len(found):
                found = found[self._data[found + each] == code]
        return found

    @cached_property
    def encoded(self) -> list[bytes]:
        """Each in UTF-8."""
        return self.some(range(len(self.spans)))

    @cached_property
    def _packed(self) -> Packed:
        return packed(self.spans)

    @cached_property
    def _data(self) -> Buffer:
        return np.frombuffer(self.plain, np.uint8)

    def rows_at(self, places: Sequence[int] | Places) -> Sequence[int]:
        """The rows that some bytes of ``plain``, in order, belong to."""
        at = np.asarray(places, np.int64)
        return list(rows_at(at, self.spans.begins, self.spans.ends).tolist())

    def _folded(self, rows: Sequence[int]) -> list[bytes]:
        if self.has_nul:
            return [fold(self.texts[row]) for row in rows]
        return folded(b"\0".join(self.some(rows)))

    def some(self, rows: Sequence[int]) -> list[bytes]:
        """Some of the texts in UTF-8."""
        buffer, begins, ends = self.spans
        at = np.array(rows, np.int64)
        places = zip(begins[at].tolist(), ends[at].tolist(), strict=True)
        return [buffer[begin:end] for begin, end in places]


def wide_screens(batch: Batch) -> tuple[WideScreen, WideScreen]:
    """The inputs and the outputs of a batch."""
    inputs = WideScreen(batch.text_inputs)
    return inputs, WideScreen(batch.outputs, inputs)


@cache
def _rarest(needle: bytes) -> int:
    return max(range(len(needle)), key=lambda each: _RARITY.get(needle[each], len(_RARITY)))


def _is_blank(text: bytes) -> bool:
    return not text or text.isspace() or (not text.isascii() and decoded(text).isspace())
