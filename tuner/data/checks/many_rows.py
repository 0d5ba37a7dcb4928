"""The first row of each of many keys, in a table that numpy looks into a thousand keys at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.spans import Words

_LEAST = 2**16
_ROOM = 2
"""Slots a key at least."""


class ManyRows:
    """A hash table with open addressing; keys are hashes already.

    A slot has a key and, one more than it is, its row: 0 says that the slot is free.
    """

    def __init__(self) -> None:
        self._slots = np.zeros((_LEAST, 2), np.uint64)
        self._count = 0

    def repeated(self, keys: Words, start: int) -> Iterator[tuple[int, int]]:
        """Of the keys of some rows that begin with ``start``, each that was there before, and its first row."""
        if (self._count + len(keys)) * _ROOM > len(self._slots):
            self._grow((self._count + len(keys)) * _ROOM)
        marks = np.arange(start + 1, start + 1 + len(keys), dtype=np.uint64)
        first = self._put(np.stack([keys, marks], 1))
        again = np.flatnonzero(first != marks)
        self._count += len(keys) - len(again)
        return zip(again.tolist(), (first[again] - np.uint64(1)).tolist(), strict=True)

    def _grow(self, least: int) -> None:
        known = self._slots[self._slots[:, 1] > 0]
        self._slots = np.zeros((1 << least.bit_length(), 2), np.uint64)
        self._put(known)

    def _put(self, entries: Words) -> Words:
        """The row of each entry's key in the table, which is its own where the key was not there.

        All look at the slot that is their turn, those that find it free write to it, and of several
        the first row is kept as it writes last; who does not find his key then goes on to the next.
        """
        first = np.empty(len(entries), np.uint64)
        left = np.arange(len(entries))[::-1]
        mask = len(self._slots) - 1
        at = (entries[left, 0] & np.uint64(mask)).astype(np.int64)
        while len(left):
            is_free = self._slots[at, 1] == 0
            self._slots[at[is_free]] = entries[left[is_free]]
            found = self._slots[at]
            is_there = found[:, 0] == entries[left, 0]
            first[left[is_there]] = found[is_there, 1]
            left, at = left[~is_there], (at[~is_there] + 1) & mask
        return first
