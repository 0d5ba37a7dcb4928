"""The first row of each of many keys, in a table that numpy looks into a thousand keys at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tuner.spans import Words

_LEAST = 2**16
_ROOM = 3
"""Slots a key at least."""
_FREE = -1


class ManyRows:
    """A hash table with open addressing, 12 bytes a slot; keys are hashes already."""

    def __init__(self) -> None:
        self._keys = np.zeros(_LEAST, np.uint64)
        self._rows = np.full(_LEAST, _FREE, np.int32)
        self._count = 0

    def repeated(self, keys: Words, start: int) -> Iterator[tuple[int, int]]:
        """Of the keys of some rows that begin with ``start``, each that was there before, and its first row."""
        rows = np.arange(start, start + len(keys), dtype=np.int32)
        if (self._count + len(keys)) * _ROOM > len(self._keys):
            self._grow((self._count + len(keys)) * _ROOM)
        first = self._put(keys, rows)
        again = np.flatnonzero(first != rows)
        self._count += len(keys) - len(again)
        return zip(again.tolist(), first[again].tolist(), strict=True)

    def _grow(self, least: int) -> None:
        used = self._rows != _FREE
        keys, rows = self._keys[used], self._rows[used]
        size = 1 << least.bit_length()
        self._keys, self._rows = np.zeros(size, np.uint64), np.full(size, _FREE, np.int32)
        self._put(keys, rows)

    def _put(self, keys: Words, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Each key's row in the table, which is its own where it was not there.

        All look at the slot that is their turn, those that find it free write to it, and of several
        the first row is kept as it writes last; who does not find his key then goes on to the next.
        """
        first = np.empty(len(keys), np.int32)
        left = np.arange(len(keys))[::-1]
        slots = (keys & np.uint64(len(self._keys) - 1)).astype(np.int64)[::-1]
        while len(left):
            is_free = self._rows[slots] == _FREE
            free, claims = slots[is_free], left[is_free]
            self._keys[free], self._rows[free] = keys[claims], rows[claims]
            is_there = self._keys[slots] == keys[left]
            first[left[is_there]] = self._rows[slots[is_there]]
            left, slots = left[~is_there], slots[~is_there] + 1
            slots &= len(self._keys) - 1
        return first
