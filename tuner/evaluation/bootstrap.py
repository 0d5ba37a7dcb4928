"""How sure a difference between two models is, by resampling the rows they both answered."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tuner.job import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

RESAMPLES = 10_000
DRAWS_AT_ONCE = 1_000_000
PERCENTILES = (2.5, 97.5)


def interval(differences: Sequence[float], seed: str) -> Interval | None:
    """The 95 % interval of the mean difference, by a paired percentile bootstrap (Efron 1979).

    Rows are drawn with replacement, each with both of its scores, ``RESAMPLES`` times; ``seed`` is
    any text, the same one gives the same interval. None for less than two rows, which say nothing
    about spread.
    """
    count = len(differences)
    if count < 2:  # noqa: PLR2004 -- said above
        return None
    if min(differences) == max(differences):  # every draw has this mean
        return Interval(differences[0], differences[0])
    import numpy as np

    digest = hashlib.sha256(seed.encode()).digest()
    chance = np.random.Generator(np.random.PCG64(int.from_bytes(digest)))
    each = np.asarray(differences, dtype=np.float64)
    at_once = max(1, DRAWS_AT_ONCE // count)
    means = np.concatenate(
        [
            each[chance.integers(0, count, (min(at_once, RESAMPLES - start), count))].mean(axis=1)
            for start in range(0, RESAMPLES, at_once)
        ]
    )
    low, high = np.percentile(means, PERCENTILES)
    return Interval(float(low), float(high))
