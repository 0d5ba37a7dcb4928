"""Rows that are nearly the same as an earlier one: shingles in common, counted exactly.

Two texts are near when the sets of their shingles, of five characters after case and punctuation are
taken away, have a Jaccard similarity of ``THRESHOLD`` (A. Broder, On the resemblance and containment of
documents, 1997), and that not for a template alone: shingles that are in many rows put aside, half of
the others must be shared too. Short texts are near when they have the same words. A few rows are compared here, in plain Python; of more, numpy finds the
likely pairs first (``tuner.data.checks.minhash``).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache
from itertools import chain, pairwise
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import TypeAlias

    from tuner.data.checks.minhash import Sketches

    Pair: TypeAlias = tuple[int, int, float]

THRESHOLD = 0.8
"""GPT-3's and many others' choice for text; one character changed in 50 gives 0.8."""
RARE_THRESHOLD = 0.5
SHINGLE = 5
LEAST_CHARS = 44
"""Of shorter texts the words must be the same: one more letter is a small change, and another word."""
FEW_PAIRS = 6
"""A text of fewer words has them too long, or too few, to be judged by them."""
MOST_CHARS = 50_000
"""Of a text that are looked at; longer than any target takes."""
FEW_ROWS = 2000
FEW_CHARS = 200_000
"""Up to both of these plain Python is as quick as importing numpy."""

_words = re.compile(r"\w+")
symbols = re.compile(
    r"[^\w\s.,;:!?\"'()«»¿¡\u2018-\u201f\u2026\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]"
)
"""What may make another text of the same few words, as in C++ and C#, 3 + 4 and 3 - 4."""


class Near:
    """Takes texts as they are read, then tells which are near an earlier one.

    Memory: up to ``FEW_ROWS`` the texts themselves; beyond, some 100 bytes a row, and the texts in a
    temporary file.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._chars = 0
        self._sketches: Sketches | None = None

    def add(self, texts: Sequence[str]) -> None:
        """Take the next rows; they are numbered from 0 in the order they come."""
        self._chars += sum(map(len, texts))
        if self._sketches is None:
            self._texts += texts
            if len(self._texts) <= FEW_ROWS and self._chars <= FEW_CHARS:
                return
            from tuner.data.checks.minhash import Sketches

            self._sketches = Sketches()
            texts, self._texts = self._texts, []
        self._sketches.add(texts)

    def pairs(self, held_from: int | None = None) -> Iterator[Pair]:
        """Yield ``(row, earlier row, similarity)`` in the order of the rows, at most one pair a row.

        Args:
            held_from: Compare the rows from this one on with those before it only, rather than
                every row with all before it.
        """
        if self._sketches is None:
            return _pairs([normalised(text) for text in self._texts], held_from)
        return self._sketches.pairs(held_from)


def normalised(text: str) -> str:
    """Its words in lower case with one space between them; "" for a short text with ``symbols``."""
    words = " ".join(_words.findall(text[:MOST_CHARS].casefold()))
    return "" if len(words) < LEAST_CHARS and symbols.search(text) else words


def shingles(text: str) -> set[str]:
    """Every run of ``SHINGLE`` characters of a normalised text."""
    return {text[start : start + SHINGLE] for start in range(len(text) - SHINGLE + 1)}


def many(rows: int) -> int:
    """In more rows than this a shingle belongs to a template, or to the language."""
    return max(20, rows // 50)


def best(
    row: int,
    mine: AbstractSet[str],
    earlier: Mapping[int, AbstractSet[str]],
    common: Callable[[], AbstractSet[str]],
) -> list[Pair]:
    """The pair of a row with the nearest of some earlier ones, the first of those equally near."""
    found = [
        (similarity, -each)
        for each, theirs in earlier.items()
        if (similarity := _jaccard(mine, theirs)) >= THRESHOLD
        and _jaccard(mine - common(), theirs - common()) >= RARE_THRESHOLD
    ]
    return [(row, -each, similarity) for similarity, each in sorted(found)[-1:]]


def _jaccard(one: AbstractSet[str], other: AbstractSet[str]) -> float:
    shared = len(one & other)
    return shared / ((len(one) + len(other) - shared) or 1)


def _pairs(texts: Sequence[str], held_from: int | None) -> Iterator[Pair]:
    """Those with the same text, then the others."""
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        if text:
            first.setdefault(text, row)
    long = {text: row for text, row in first.items() if len(text) >= LEAST_CHARS}
    most = many(len(texts))

    @cache
    def common() -> AbstractSet[str]:
        counts = Counter(chain.from_iterable(map(shingles, long)))
        return {shingle for shingle, count in counts.items() if count > most}

    sets = {row: shingles(text) for text, row in _likely(long, most)}
    near = {
        row: pair
        for row, earlier in _candidates(sets, most, held_from)
        for pair in best(row, sets[row], {each: sets[each] for each in earlier}, common)
    }
    for row, text in enumerate(texts):
        same = first.get(text, row)
        if held_from is not None and row < held_from:
            continue
        if same < (row if held_from is None else held_from):
            yield row, same, 1.0
        elif same in near:
            yield row, *near[same][1:]


def _likely(first: Mapping[str, int], most: int) -> Iterator[tuple[str, int]]:
    """The texts that have something in common with another: a sieve, six times quicker than shingles.

    An edit changes at least five shingles and at most two or three pairs of neighbouring words. So of
    texts that are near, over half of those that are not in many rows are the same.
    """
    pairs = {text: set(pairwise(text.split())) for text in first}
    counts = Counter(chain.from_iterable(pairs.values()))
    single = {pair for pair, count in counts.items() if count == 1}
    common = {pair for pair, count in counts.items() if count > most}
    for text, mine in pairs.items():
        rare = mine - common
        if len(mine) < FEW_PAIRS or len(rare - single) * 2 >= len(rare):
            yield text, first[text]


def _candidates(
    sets: Mapping[int, set[str]], most: int, held_from: int | None
) -> Iterator[tuple[int, set[int]]]:
    """Each row with the earlier ones that may be near; R. Bayardo et al., All pairs, 2007.

    In any one order of all shingles, the first that two sets share is among the first few of each when
    they share enough; with the rarest in front, few pairs are left to be compared.
    """
    counts = Counter(chain.from_iterable(sets.values()))
    single = {shingle for shingle, count in counts.items() if count == 1}
    usable = sorted((each for each in counts if 1 < counts[each] <= most), key=counts.__getitem__)
    place = {each: place for place, each in enumerate(usable)}
    rows_with: defaultdict[str, list[int]] = defaultdict(list)
    for row, mine in sets.items():
        left = _prefix(len(mine)) - len(mine & single)
        prefix = sorted(mine & place.keys(), key=place.__getitem__)[: max(0, left)]
        if held_from is None or row >= held_from:
            yield row, {other for shingle in prefix for other in rows_with.get(shingle, ())}
        if held_from is None or row < held_from:
            for shingle in prefix:
                rows_with[shingle].append(row)


def _prefix(size: int) -> int:
    """How many of a set's shingles, in any one order, hold one of each set near to it."""
    return size - ceil(THRESHOLD * size) + 1
