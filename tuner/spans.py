"""Texts as spans of a buffer: thousands hashed or copied in a few calls of numpy, none made a Python object."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Buffer: TypeAlias = NDArray[np.uint8]
    Flags: TypeAlias = NDArray[np.bool_]
    Places: TypeAlias = NDArray[np.int64]
    Words: TypeAlias = NDArray[np.uint64]

CHUNK = 32
"""Bytes that are moved in one."""
PADDING = bytes(CHUNK)
"""What a buffer ends with, so that the last text's last chunk is whole."""
WORD = 8
"""Bytes that are reckoned with in one."""
_KEPT = [b"\xff" * count + bytes(CHUNK - count) for count in range(CHUNK + 1)]
_MASKS = np.frombuffer(b"".join(_KEPT), f"V{CHUNK}")
_ONE, _TWO, _BASE, _LENGTH = (
    np.uint64(each)
    for each in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
)
_HIGH, _MIDDLE = np.uint64(32), np.uint64(29)
_LEAST = 2**16
_NOWHERE = np.array([2**63 - 1])


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


class Packed(NamedTuple):
    """Texts one behind the other, each with zeros up to the next whole chunk; an empty one is a chunk of them.

    Attributes:
        words: Their bytes.
        first: The index of the first word of each.
        sizes: Its bytes.
    """

    words: Words
    first: Places
    sizes: Places

    @property
    def data(self) -> Buffer:
        """Their bytes, one by one."""
        return self.words.view(np.uint8)


def packed(spans: Spans) -> Packed:
    """A copy of the texts."""
    sizes = spans.ends - spans.begins
    counts = np.maximum((sizes + (CHUNK - 1)) // CHUNK, 1)
    ends = np.cumsum(counts)
    chunks = at_each(spans.buffer, CHUNK)[_steps(spans.begins, counts, CHUNK)]
    masks = _MASKS[sizes - CHUNK * (counts - 1)].view(np.uint64)
    chunks[ends - 1] = (chunks[ends - 1].view(np.uint64) & masks).view(chunks.dtype)
    return Packed(chunks.view(np.uint64), (ends - counts) * (CHUNK // WORD), sizes)


def hashes(texts: Packed) -> Words:
    """A hash of each text, 64 bits.

    A polynomial modulo 2**64 in the text's words, so mixed that their highest bits count as much as
    the others, and in the text's length; with the finalizer of MurmurHash3 (Appleby 2011) behind it.
    Of texts that nobody has chosen for it, one in 2**64 pairs of different ones has the same.
    """
    if not len(texts.first):
        return np.zeros(0, np.uint64)
    powers, inverses = _powers(1 << max(len(texts.words), _LEAST).bit_length())
    words = texts.words >> _MIDDLE
    words ^= texts.words
    words *= powers[: len(words)]
    found: Words = np.add.reduceat(words, texts.first) * inverses[texts.first]
    found += texts.sizes.astype(np.uint64) * _LENGTH
    _mix(found)
    return found


def copy(spans: Spans, into: Buffer, places: Places) -> None:
    """Copy each text to its place in a buffer.

    Two chunks at a time, and then the last two of a text once more, which may overlap; what has fewer
    bytes goes by chunks, by words, or byte by byte.
    """
    sizes = spans.ends - spans.begins
    most = int(sizes.max(initial=0)) + 1
    for step, limit in ((2 * CHUNK, most), (CHUNK, 2 * CHUNK), (WORD, CHUNK), (1, WORD)):
        rows = ((sizes >= step) & (sizes < limit)).nonzero()[0]
        if not len(rows):
            continue
        begins, ends, moved = spans.begins[rows], spans.ends[rows], places[rows]
        source, target = at_each(spans.buffer, step), at_each(into, step)
        counts = (ends - begins) // step
        steps = _steps(begins, counts, step)
        target[steps + np.repeat(moved - begins, counts)] = source[steps]
        target[ends - step + moved - begins] = source[ends - step]


def set_in(flags: Flags) -> Places:
    """Where flags are set: ``numpy.flatnonzero``, which looks at them one by one, for few among many."""
    whole = len(flags) // WORD * WORD
    words = flags[:whole].view(np.uint64)
    some = (words != 0).nonzero()[0]
    if len(some):
        found = words[some].view(np.bool_).nonzero()[0]
        some = some[found >> 3] * WORD + (found & (WORD - 1))
    last = flags[whole:].nonzero()[0]
    return np.concatenate([some, last + whole]) if len(last) else some


def rows_at(places: Places, begins: Places, ends: Places) -> Places:
    """Which spans hold one of some bytes of the buffer; the fewer are looked up among the more.

    Bytes and spans must be in the order of the buffer, and no span may begin within another.
    """
    if len(places) < len(begins):
        rows = begins.searchsorted(places, "right") - 1
        rows = rows[(rows >= 0) & (places < ends[rows])]
        is_first = np.ones(len(rows), np.bool_)
        is_first[1:] = rows[1:] != rows[:-1]
        return rows[is_first]
    or_none = np.concatenate([places, _NOWHERE])
    return (or_none[places.searchsorted(begins)] < ends).nonzero()[0]


def at_each(buffer: bytes | Buffer, size: int) -> NDArray[np.void]:
    """So many bytes from each byte of a buffer on: numpy moves them in one, wherever they begin."""
    return np.ndarray((len(buffer) - size + 1,), f"V{size}", buffer, 0, (1,))


def _steps(begins: Places, counts: Places, size: int) -> Places:
    """Where each piece of each text begins: so many a text, of so many bytes."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(begins - size * (ends - counts), counts) + np.arange(0, size * total, size)


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
