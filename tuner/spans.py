"""Texts as spans of a buffer: thousands hashed or copied in a few calls of numpy, none made a Python object."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Buffer: TypeAlias = NDArray[np.uint8]
    Places: TypeAlias = NDArray[np.int64]
    Words: TypeAlias = NDArray[np.uint64]

WORD = 8
"""Bytes that are looked at in one."""
PADDING = bytes(WORD)
"""What a buffer ends with, so that the last text's last word is whole."""
_MASKS = np.array([2 ** (8 * count) - 1 for count in range(WORD + 1)], np.uint64)
_ONE, _TWO, _BASE, _LENGTH = (
    np.uint64(each)
    for each in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
)
_HIGH, _MIDDLE = np.uint64(32), np.uint64(29)
_LEAST = 2**16


class Spans(NamedTuple):
    """Texts in UTF-8.

    Attributes:
        buffer: Where they stand; it ends with ``PADDING``.
        begins: The first byte of each.
        ends: The byte behind each.
    """

    buffer: bytes
    begins: Places
    ends: Places

    def __len__(self) -> int:
        """How many there are."""
        return len(self.begins)


def joined(texts: list[bytes]) -> Spans:
    """Texts one behind the other, in a buffer of their own."""
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    ends = np.cumsum(sizes)
    return Spans(b"".join([*texts, PADDING]), ends - sizes, ends)


def hashes(spans: Spans) -> Words:
    """A hash of each text, 64 bits.

    A polynomial modulo 2**64 in the text's words, each mixed by the steps of MurmurHash3's finalizer
    (Appleby 2011), and the text's length: one in 2**64 pairs of different texts has the same.
    """
    sizes = spans.ends - spans.begins
    counts = np.maximum((sizes + (WORD - 1)) // WORD, 1)
    ends = np.cumsum(counts)
    first, total = ends - counts, int(ends[-1]) if len(ends) else 0
    if not total:
        return np.zeros(0, np.uint64)
    words = _words(spans.buffer)[_steps(spans.begins, counts, first, total)]
    words[ends - 1] &= _MASKS[sizes - WORD * (counts - 1)]
    powers, inverses = _powers(1 << max(total, _LEAST).bit_length())
    _mix(words)
    words *= powers[:total]
    found: Words = np.add.reduceat(words, first) * inverses[first]
    found += sizes.astype(np.uint64) * _LENGTH
    _mix(found)
    return found


def copy(spans: Spans, into: Buffer, places: Places) -> None:
    """Copy each text to its place in a buffer of at least eight bytes.

    Whole words, and then the last eight bytes of a text once more, which may overlap; what has fewer
    goes byte by byte.
    """
    sizes = spans.ends - spans.begins
    target = np.ndarray((len(into) - WORD + 1,), np.uint64, into, 0, (1,))
    source = _words(spans.buffer)
    is_short = sizes < WORD
    for size in np.unique(sizes[is_short]).tolist():
        some = sizes == size
        for at in range(size):
            into[places[some] + at] = source[spans.begins[some] + at] & _MASKS[1]
    begins, ends, moved = (each[~is_short] for each in (spans.begins, spans.ends, places))
    if not len(begins):
        return
    counts = (ends - begins) // WORD
    first, total = np.cumsum(counts) - counts, int(counts.sum())
    steps = _steps(begins, counts, first, total)
    target[steps + np.repeat(moved - begins, counts)] = source[steps]
    last = ends - WORD
    target[last + (moved - begins)] = source[last]


def rows_at(places: Places, begins: Places, ends: Places) -> Places:
    """The spans, each once and in order, that hold one of some bytes of the buffer."""
    order = np.argsort(begins, kind="stable")
    found = np.searchsorted(begins[order], places, side="right") - 1
    rows = order[found[found >= 0]]
    holds = np.zeros(len(begins), np.bool_)
    holds[rows[places[found >= 0] < ends[rows]]] = True
    return np.flatnonzero(holds)


def _words(buffer: bytes) -> Words:
    """The word at each byte of a buffer, those that are not aligned too."""
    return np.ndarray((max(len(buffer) - WORD + 1, 0),), np.dtype("<u8"), buffer, 0, (1,))


def _steps(begins: Places, counts: Places, first: Places, total: int) -> Places:
    """Where each word of each text begins: so many a text, of which the first has an index."""
    return np.repeat(begins - WORD * first, counts) + np.arange(0, WORD * total, WORD)


def _mix(words: Words) -> None:
    words *= _ONE
    words ^= words >> _HIGH
    words *= _TWO
    words ^= words >> _MIDDLE


@lru_cache(maxsize=2)
def _powers(count: int) -> tuple[Words, Words]:
    """The powers of an odd number modulo 2**64 from its zeroth, and what undoes each."""
    base = int(_BASE)
    powers = np.full((2, count), [[base], [pow(base, -1, 2**64)]], np.uint64)
    powers[:, 0] = 1
    np.cumprod(powers, axis=1, out=powers)
    return powers[0], powers[1]
