"""Rows that agree in one of the bands of their sketches may be a pair; of a row's the best are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from numpy.typing import NDArray

    Bools: TypeAlias = NDArray[np.bool_]
    Ints: TypeAlias = NDArray[np.int64]
    Sketch: TypeAlias = NDArray[np.uint8]

LEAST_AGREEMENT = 35
"""Bins in which two sketches agree when they are worth comparing; of rows that share half of their
rare shingles 50 are expected, give or take 5."""
_BITS, _ROW = np.uint64(32), np.uint64(0xFFFFFFFF)
"""A key and its row as one number: how far the key is shifted, and which bits are the row's."""


def likely(
    sketches: Sketch, whole: Ints, is_long: Bools, held_from: int | None
) -> Iterator[tuple[int, set[int]]]:
    """Yield rows with one or two earlier ones to compare them with.

    Args:
        sketches: One a row.
        whole: A number for the whole of each row's text; 0 leaves the row out.
        is_long: Whether its sketch counts; others are compared as a whole alone.
        held_from: As ``Near.pairs``.
    """
    used, long = np.flatnonzero(whole), np.flatnonzero(is_long)
    agreement = np.zeros((2, len(whole)), np.uint8)
    partner = np.zeros((2, len(whole)), np.int32)
    for key in (whole, *sketches.view(np.uint32).T):
        keys, order = _in_order(key, used if key is whole else long)
        for slot, (rows, earlier) in enumerate(_links(keys, order, held_from)):
            found = _agreement(sketches, rows, earlier)
            more = found > agreement[slot, rows]
            agreement[slot, rows[more]] = found[more]
            partner[slot, rows[more]] = earlier[more]
    enough = agreement >= LEAST_AGREEMENT
    for row in np.flatnonzero(enough.any(axis=0)).tolist():
        yield row, set(partner[enough[:, row], row].tolist())


def _in_order(key: NDArray[Any], rows: Ints) -> tuple[NDArray[Any], Ints]:
    """The keys of some rows, and the rows, sorted by key, then number."""
    if key.dtype != np.uint32:
        order = rows[np.argsort(key[rows], kind="stable")]
        return key[order], order
    both = np.sort(key[rows].astype(np.uint64) << _BITS | rows.astype(np.uint64))
    return both >> _BITS, (both & _ROW).astype(np.int64)


def _links(
    keys: NDArray[Any], order: Ints, held_from: int | None
) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
    """Of rows sorted by key, then number: each with the first, and with the one before it, of its key."""
    if not len(order):
        return (order, order), (order, order)
    is_first = np.concatenate(([True], keys[1:] != keys[:-1]))
    places = np.arange(len(order))
    first = np.maximum.accumulate(np.where(is_first, places, 0))
    is_earlier = np.full(len(order), True) if held_from is None else order < held_from
    before = np.maximum.accumulate(np.where(is_earlier, places, -1))
    before = np.concatenate(([-1], before[:-1]))
    asks = ~is_first & (before >= first)
    if held_from is not None:
        asks &= ~is_earlier
    return (order[asks], order[first[asks]]), (order[asks], order[before[asks]])


def _agreement(sketches: Sketch, rows: Ints, others: Ints) -> NDArray[np.uint8]:
    """In how many bins two sketches are the same."""
    found = np.zeros(len(rows), np.uint8)
    for start in range(0, len(rows), 1 << 16):
        some = slice(start, start + (1 << 16))
        found[some] = (sketches[rows[some]] == sketches[others[some]]).sum(axis=1)
    return found
