"""The first row of each of many keys, in a table that numpy looks into a thousand keys at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from numpy.typing import NDArray

    from tuner.spans import Words

    Slots: TypeAlias = NDArray[np.void]

_LEAST = 2**16
_ROOM = 2
"""Slots a key at least."""
_SLOT = np.dtype("V16")
"""A key and its row: numpy moves the two in one."""


class ManyRows:
    """A hash table with open addressing; keys are hashes already.

    A slot has a key and, one more than it is, its row: 0 says that the slot is free.
    """

    def __init__(self) -> None:
        self._slots = np.zeros(_LEAST, _SLOT)
        self._count = 0

    def repeated(self, keys: Words, start: int) -> Iterator[tuple[int, int]]:
        """Of the keys of some rows that begin with ``start``, each that was there before, and its first row."""
        if (self._count + len(keys)) * _ROOM > len(self._slots):
            self._grow((self._count + len(keys)) * _ROOM)
        marks = np.arange(start + 1, start + 1 + len(keys), dtype=np.uint64)
        first = self._put(np.stack([keys, marks], 1).view(_SLOT)[:, 0])
        again = np.flatnonzero(first != marks)
        self._count += len(keys) - len(again)
        return zip(again.tolist(), (first[again] - np.uint64(1)).tolist(), strict=True)

    def _grow(self, least: int) -> None:
        known = self._slots.compress(_rows(self._slots) > 0)
        self._slots = np.zeros(1 << least.bit_length(), _SLOT)
        self._put(known)

    def _put(self, entries: Slots) -> Words:
        """The row of each entry's key in the table, which is its own where the key was not there.

        All look at the slot that is their turn, those that find it free write to it, and of several
        the first row is kept as it writes last; who does not find his key then goes on to the next.
        """
        keys, first = _keys(entries), np.empty(len(entries), np.uint64)
        left = np.arange(len(entries))[::-1]
        mask = len(self._slots) - 1
        at = (keys[left] & np.uint64(mask)).astype(np.int64)
        while len(left):
            found = self._slots[at]
            free = (_rows(found) == 0).nonzero()[0]
            self._slots[at[free]] = entries[left[free]]
            found[free] = self._slots[at[free]]
            is_there = _keys(found) == keys[left]
            first[left.compress(is_there)] = _rows(found).compress(is_there)
            left, at = left.compress(~is_there), (at.compress(~is_there) + 1) & mask
        return first


def _keys(slots: Slots) -> Words:
    return slots.view(np.uint64)[::2]


def _rows(slots: Slots) -> Words:
    return slots.view(np.uint64)[1::2]
