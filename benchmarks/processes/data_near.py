"""Which texts are nearly the same as an earlier one: python data_near.py CONTESTANT FILE (JSON)."""

from __future__ import annotations

import json
import re
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import meter

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Work: TypeAlias = Callable[[], list[tuple[int, int]]]

THRESHOLD = 0.8


def ours(texts: list[str]) -> Work:
    """The examples' own check, fed as a reader feeds it."""
    import rensa  # noqa: F401 -- what is imported is not measured

    from tuner.data.checks.duplicates import NearDuplicates

    def work() -> list[tuple[int, int]]:
        near = NearDuplicates()
        for start in range(0, len(texts), 4096):
            near.add(texts[start : start + 4096])
        return [(row, earlier) for row, earlier, _ in near.pairs()]

    return work


def datasketch(texts: list[str], threshold: float = THRESHOLD) -> Work:
    """Its 128 permutations over the same shingles by a quick hash; the candidates compared exactly."""
    from datasketch import MinHash, MinHashLSH

    word = re.compile(r"\w+")

    def shingles(text: str) -> set[str]:
        plain = " ".join(word.findall(text.casefold()))
        return {plain[start : start + 5] for start in range(max(1, len(plain) - 4))}

    def nearest(mine: set[str], candidates: list[int]) -> tuple[float, int]:
        theirs = ((each, shingles(texts[each])) for each in candidates)
        found = [(len(mine & other) / len(mine | other), -each) for each, other in theirs]
        return max(found, default=(0.0, 0))

    def work() -> list[tuple[int, int]]:
        index = MinHashLSH(threshold=threshold, num_perm=128)
        encoded = ([each.encode() for each in shingles(text)] for text in texts)
        pairs = []
        for row, sketch in enumerate(MinHash.generator(encoded, num_perm=128, hashfunc=zlib.crc32)):
            candidates = index.query(sketch)
            index.insert(row, sketch)
            if candidates:
                similarity, earlier = nearest(shingles(texts[row]), candidates)
                if similarity >= THRESHOLD:
                    pairs.append((row, -earlier))
        return pairs

    return work


def datasketch_wide(texts: list[str]) -> Work:
    """The same, asked for candidates from 0.6 on, so that fewer of those at 0.8 are missed."""
    return datasketch(texts, 0.6)


CONTESTANTS = {each.__name__: each for each in (ours, datasketch, datasketch_wide)}

if __name__ == "__main__":
    given = json.loads(Path(sys.argv[2]).read_text())
    pairs, costs = meter.measured(CONTESTANTS[sys.argv[1]](given))
    meter.tell(costs, pairs)
