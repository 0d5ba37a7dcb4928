"""The same looks at thousands of texts, for when there are many: with numpy, and without a Python object a row."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tuner.data.checks.screen import BLANKS, CONTROLS, SEEN, Screen, fold, folded
from tuner.examples import Column
from tuner.spans import Spans, hashes, joined, rows_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.data import Batch
    from tuner.spans import Buffer, Places, Words

_SPACE = ord(" ")
_LOWER = bytes(_SPACE if code in BLANKS else code for code in bytes(range(256)).lower())
_IS_SEEN = np.isin(np.arange(256), SEEN)
_IS_CONTROL = np.isin(np.arange(256), (0, *CONTROLS))


class WideScreen(Screen):
    """One column of a batch; ``plain`` may hold more than its texts."""

    is_wide = True

    def __init__(self, texts: Sequence[str], beside: WideScreen | None = None) -> None:
        """Take a column, whose texts may stand in the same buffer as those of another."""
        super().__init__(texts)
        self.spans = (
            texts.spans
            if isinstance(texts, Column)
            else joined([text.encode("utf-8", "surrogatepass") for text in texts])
        )
        is_shared = beside is not None and beside.spans.buffer is self.spans.buffer
        self._beside = beside if is_shared else None
        self._may_have: dict[bytes, bool] = {}

    @cached_property
    def plain(self) -> bytes:
        """Where the texts stand."""
        return self.spans.buffer

    @cached_property
    def rest(self) -> bytes:
        """``plain`` without what most texts are made of."""
        return self._beside.rest if self._beside else super().rest

    @cached_property
    def card_places(self) -> Sequence[int]:
        """Some bytes of ``plain`` that may be part of a card number."""
        return self._beside.card_places if self._beside else super().card_places

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
        return b"\n".join(self._some(self.foreign))

    def may_have(self, needle: bytes) -> bool:
        """Whether a row may hold some bytes."""
        if self._beside:
            return self._beside.may_have(needle)
        if needle not in self._may_have:
            self._may_have[needle] = super().may_have(needle)
        return self._may_have[needle]

    def with_controls(self) -> Sequence[int]:
        """The rows that hold a control character of ASCII, other than tab and line ends."""
        if self.has_nul or any(map(self.rest.__contains__, CONTROLS)):
            return self._rows(np.flatnonzero(_IS_CONTROL[self._data]))
        return ()

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
        return hashes(self.spans)

    def keys(self) -> Words:
        """A hash of each text that is the same when only case and blanks differ."""
        lowered = self.plain.translate(_LOWER)
        data = np.frombuffer(lowered, np.uint8)
        _, begins, ends = self.spans
        keys = hashes(Spans(lowered, begins, ends))
        is_space = data == _SPACE
        odd = self._rows(np.flatnonzero(is_space[1:] & is_space[:-1]))
        if len(begins):
            is_odd = (is_space[begins] | is_space[ends - 1]) & (begins < ends)
            is_odd[odd] = is_odd[list(self.foreign)] = True
            rows = np.flatnonzero(is_odd)
            keys[rows] = hashes(joined(self._folded(rows.tolist())))
        return keys

    def holding(self, others: Screen) -> Sequence[int]:
        """The rows that hold the text of another column in the same row."""
        begins, ends = self.spans.begins.tolist(), self.spans.ends.tolist()
        found = map(self.plain.find, others.encoded, begins, ends)
        return np.flatnonzero(np.fromiter(found, np.int64, len(begins)) >= 0).tolist()

    def rows_with(self, needle: bytes) -> Sequence[int]:
        """The rows that hold some bytes."""
        places, at = [], self.plain.find(needle)
        while at >= 0:
            places.append(at)
            at = self.plain.find(needle, at + 1)
        return self.rows_at(places)

    def rows_at(self, places: Sequence[int]) -> Sequence[int]:
        """The rows that some bytes of ``plain``, in order, belong to."""
        return self._rows(np.array(places, np.int64))

    @cached_property
    def encoded(self) -> list[bytes]:
        """Each in UTF-8."""
        return self._some(range(len(self.spans)))

    @cached_property
    def _data(self) -> Buffer:
        return np.frombuffer(self.plain, np.uint8)

    def _rows(self, places: Places) -> Sequence[int]:
        return list(rows_at(places, self.spans.begins, self.spans.ends).tolist())

    def _folded(self, rows: Sequence[int]) -> list[bytes]:
        if self.has_nul:
            return [fold(self.texts[row]) for row in rows]
        return folded(b"\0".join(self._some(rows))) if rows else []

    def _some(self, rows: Sequence[int]) -> list[bytes]:
        buffer, begins, ends = self.spans
        return [buffer[begins[row] : ends[row]] for row in rows]


def wide_screens(batch: Batch) -> tuple[WideScreen, WideScreen]:
    """The inputs and the outputs of a batch."""
    inputs = WideScreen(batch.text_inputs)
    return inputs, WideScreen(batch.outputs, inputs)


def _is_blank(text: bytes) -> bool:
    return not text or text.isspace() or (not text.isascii() and _decoded(text).isspace())


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")
