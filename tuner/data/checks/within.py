"""Which texts cannot hold another, told by their words before any of their bytes is searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tuner.spans import WORD, at_each, set_in

if TYPE_CHECKING:
    from tuner.spans import Flags, Packed, Spans

_LEAST = 2 * WORD - 1
"""Bytes of which, wherever they stand in a text, some are one of its words."""
_BITS = 20
_LEFT = np.uint64(64 - _BITS)
_FACTOR, _SALT = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


def may_hold(wholes: Packed, parts: Spans) -> Flags:
    """Whether each text may hold the one of the same row; of short ones that is not known.

    One that does has a word that stands in the other at one of its first eight bytes. Those are
    looked up in one table for all rows, and who is found there is compared.
    """
    may: Flags = parts.ends - parts.begins < _LEAST
    if may.all():
        return may
    starts = at_each(parts.buffer, 2 * WORD)[parts.begins]
    wanted = np.ndarray((len(parts), WORD), np.uint64, starts, 0, (2 * WORD, 1)).copy()
    salts = np.arange(len(parts), dtype=np.uint64) * _SALT
    table = np.zeros(1 << _BITS, np.bool_)
    table[((wanted * _FACTOR + salts[:, None]) >> _LEFT).view(np.int64)] = True
    keys = wholes.words * _FACTOR
    ends = np.concatenate([wholes.first[1:], [len(keys)]])
    keys += np.repeat(salts, ends - wholes.first)
    keys >>= _LEFT
    found = set_in(table[keys.view(np.int64)])
    of_row = np.searchsorted(wholes.first, found, side="right") - 1
    is_there = (wanted[of_row] == wholes.words[found, None]).any(axis=1)
    may[of_row[is_there]] = True
    return may
