"""Likely pairs of nearly the same texts among many, by sketches of their rare shingles.

A sketch is made by one permutation hashing (P. Li, A. Owen, C.-H. Zhang, One permutation hashing, 2012),
its empty bins filled from others chosen by chance (A. Shrivastava, Optimal densification for fast and
accurate minwise hashing, 2017), of each minimum eight bits kept (P. Li, A. C. Koenig, b-bit minwise
hashing, 2010). Of the pairs that ``bands`` finds likely the texts are compared.
"""

from __future__ import annotations

from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any
from weakref import finalize

import numpy as np

from tuner.data.checks.bands import likely
from tuner.data.checks.near import (
    LEAST_CHARS,
    MOST_CHARS,
    SHINGLE,
    best,
    many,
    shingles,
    symbols,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from tuner.data.checks.near import Pair

    Bools: TypeAlias = NDArray[np.bool_]
    Codes: TypeAlias = NDArray[Any]
    Hashes: TypeAlias = NDArray[np.uint64]
    Ints: TypeAlias = NDArray[np.int64]
    Sketch: TypeAlias = NDArray[np.uint8]

BANDS = 25
BINS = 4 * BANDS
COUNTER_BITS = 20
"""Shingles are counted in 2 ** 20 places; two in one place are taken for one."""
PIECE_CHARS = 400_000
IN_MEMORY_BYTES = 16 << 20

_END = "\0"
_SPACE = ord(" ")
_ASCII = 128
_EMPTY = np.uint32(0xFFFFFFFF)
_WORDS = np.array([chr(code).isalnum() or chr(code) == "_" for code in range(_ASCII)])
_BORROWED = np.random.default_rng(2017).integers(0, BINS, (64, BINS))


class Sketches:
    """Takes texts as they are read; the normalised ones go to a temporary file.

    Memory: 16 bytes a row; when the pairs are looked for ``BINS`` and 20 more.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 -- the next line closes it
        finalize(self, self._file.close)
        self._starts: list[Ints] = []
        self._size = self._rows = 0
        self._counts = np.zeros(1 << COUNTER_BITS, np.int64)
        self._made: tuple[Sketch, Ints, Bools, set[str]] | None = None

    def add(self, texts: Sequence[str]) -> None:
        """Take the next rows."""
        self._made = None
        self._file.seek(self._size)
        for some in _pieces(texts):
            text = normalised(some)
            raw = text.encode("utf-8", "surrogatepass") + b"\0"
            ends = np.flatnonzero(np.frombuffer(raw, np.uint8) == 0)
            self._starts.append(self._size + np.concatenate(([0], ends + 1)))
            self._file.write(raw)
            self._size += len(raw)
            self._rows += len(some)
            np.add.at(self._counts, _places(hashed(codes_of(text))[0]), 1)

    def pairs(self, held_from: int | None) -> Iterator[Pair]:
        """As ``Near.pairs``; of those just near enough a few are missed."""
        if self._made is None:
            self._made = self._make()
        sketches, whole, is_long, common = self._made
        yield from self._verified(likely(sketches, whole, is_long, held_from), common)

    def _make(self) -> tuple[Sketch, Ints, Bools, set[str]]:
        """Of each text the sketch, a number for the whole, and its use; the shingles left out of all."""
        common = _Common(self._counts > many(self._rows))
        sketches = np.zeros((self._rows, BINS), np.uint8)
        whole = np.zeros(self._rows, np.int64)
        is_long = np.zeros(self._rows, np.bool_)
        row = 0
        for starts in self._starts:
            text = self._read(starts[0], starts[-1])
            rows = slice(row, row := row + len(starts) - 1)
            texts = text.split(_END)
            whole[rows] = [hash(each) if each else 0 for each in texts]
            is_long[rows] = [len(each) >= LEAST_CHARS for each in texts]
            hashes, row_of = common.left_out(text)
            used = is_long[rows][row_of]
            sketches[rows] = sketched(hashes[used], row_of[used], len(starts) - 1)
        return sketches, whole, is_long, common.names

    def _verified(self, pairs: Iterator[tuple[int, set[int]]], common: set[str]) -> Iterator[Pair]:
        starts = np.concatenate([each[:-1] for each in self._starts] + [np.array([self._size])])
        for row, earlier in pairs:
            mine = self._read(starts[row], starts[row + 1])
            texts = {each: self._read(starts[each], starts[each + 1]) for each in sorted(earlier)}
            same = next((each for each, text in texts.items() if text == mine), None)
            if same is not None:
                yield row, same, 1.0
            else:
                sets = {each: shingles(text) for each, text in texts.items()}
                yield from best(row, shingles(mine), sets, lambda: common)

    def _read(self, start: np.int64, end: np.int64) -> str:
        self._file.seek(int(start))
        return self._file.read(int(end - start) - 1).decode("utf-8", "surrogatepass")


def _pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Parts of some ``PIECE_CHARS`` characters, so that rows of any length take bounded memory."""
    start = chars = 0
    for row, text in enumerate(texts):
        chars += min(len(text), MOST_CHARS)
        if chars > PIECE_CHARS:
            yield texts[start : row + 1]
            start, chars = row + 1, 0
    if start < len(texts):
        yield texts[start:]


def normalised(texts: Sequence[str]) -> str:
    """The same as ``near.normalised`` of each, a NUL between them."""
    joined = _END.join(text[:MOST_CHARS].casefold() for text in texts)
    if joined.count(_END) >= len(texts):
        joined = _END.join(text[:MOST_CHARS].casefold().replace(_END, " ") for text in texts)
    codes = codes_of(joined)
    end = codes == 0
    word = _is_word(codes)
    after_word = np.concatenate(([False], word[:-1]))
    kept = np.where(word | end, codes, _SPACE)[word | end | after_word]
    last = (kept == _SPACE) & np.concatenate((kept[1:] == 0, [True]))
    kept = kept[~last]
    raw: bytes = kept.tobytes()
    text = raw.decode("utf-32-le" if codes.itemsize > 1 else "ascii", "surrogatepass")
    sizes = np.diff(np.flatnonzero(np.concatenate((kept, [0])) == 0), prepend=-1) - 1
    return _without_symbols(text, texts, np.flatnonzero(sizes < LEAST_CHARS))


def _without_symbols(text: str, texts: Sequence[str], short: Ints) -> str:
    """Without the ``short`` ones whose words are not all that they say."""
    if left_out := [row for row in short.tolist() if symbols.search(texts[row])]:
        each = text.split(_END)
        for row in left_out:
            each[row] = ""
        return _END.join(each)
    return text


def codes_of(text: str) -> Codes:
    """Its characters as numbers, of one byte each where that is enough."""
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _is_word(codes: Codes) -> Bools:
    r"""What ``\w`` is in Python's regular expressions."""
    word: Bools = _WORDS[np.minimum(codes, _ASCII - 1)]
    others = codes >= _ASCII
    if others.any():
        distinct, which = np.unique(codes[others], return_inverse=True)
        word[others] = np.array([chr(code).isalnum() for code in distinct])[which]
    return word


def hashed(codes: Codes) -> tuple[Hashes, Ints]:
    """A number of 64 bits for every shingle, and where it starts."""
    count = max(0, len(codes) - SHINGLE + 1)
    wide = codes.astype(np.uint64)
    hashes = wide[:count].copy()
    for offset in range(1, SHINGLE):
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes += wide[offset : offset + count]
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(0xD6E8FEB86659FD93)
    hashes ^= hashes >> np.uint64(32)
    is_text = codes != 0
    is_inside = is_text[:count].copy()
    for offset in range(1, SHINGLE):
        is_inside &= is_text[offset : offset + count]
    starts = np.flatnonzero(is_inside)
    return hashes[starts], starts


def _places(hashes: Hashes) -> Ints:
    """Where a shingle is counted."""
    return (hashes >> np.uint64(64 - COUNTER_BITS)).astype(np.int64)


class _Common:
    """The shingles that are in many rows: by the place they are counted in, and by name."""

    def __init__(self, places: Bools) -> None:
        self._places, self._unnamed = places, places.copy()
        self.names: set[str] = set()

    def left_out(self, text: str) -> tuple[Hashes, Ints]:
        """The other shingles of some texts, and which text each is in."""
        codes = codes_of(text)
        hashes, starts = hashed(codes)
        places = _places(hashes)
        new = np.flatnonzero(self._unnamed[places])
        if len(new):
            self._unnamed[places[new]] = False
            new = new[np.unique(hashes[new], return_index=True)[1]]
            self.names.update(text[start : start + SHINGLE] for start in starts[new].tolist())
        rare = np.flatnonzero(~self._places[places])
        ends = np.flatnonzero(codes == 0)
        return hashes[rare], ends.searchsorted(starts[rare])


def sketched(hashes: Hashes, row_of: Ints, rows: int) -> Sketch:
    """The least hash of every bin, for each row; of an empty bin that of another."""
    least = np.full((rows, BINS), _EMPTY)
    bins = ((hashes & np.uint64(0xFFFFFFFF)) * np.uint64(BINS)) >> np.uint64(32)
    values = (hashes >> np.uint64(32)).astype(np.uint32)
    np.minimum.at(least.reshape(-1), row_of * BINS + bins.astype(np.int64), values)
    filled, every = least.astype(np.uint8), least.reshape(-1)
    is_empty = least == _EMPTY
    empty = np.flatnonzero(is_empty & ~is_empty.all(axis=1, keepdims=True))
    at = empty % BINS
    first = empty - at
    for borrowed in _BORROWED:
        lent = every[first + borrowed[at]]
        filled.reshape(-1)[first + at] = lent
        left = np.flatnonzero(lent == _EMPTY)
        first, at = first[left], at[left]
    return filled
