"""How an answer is compared with what was expected: a number from 0, wrong, to 1, right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Score = Callable[[str, str], float]
    """Takes what was expected and the answer."""


def normalize(text: str) -> str:
    """Case, punctuation and runs of white space do not count.

    After the SQuAD evaluation script (Rajpurkar et al. 2016), but articles are kept: not every
    data set is English.
    """
    return " ".join(re.sub(r"[^\w\s]|_", " ", text.casefold()).split())


def exact_match(expected: str, answer: str) -> float:
    """To the letter."""
    return float(answer == expected)


def normalized_match(expected: str, answer: str) -> float:
    """But for case, punctuation and white space."""
    return float(normalize(answer) == normalize(expected))


ALWAYS: dict[str, Score] = {"exact_match": exact_match, "normalized_match": normalized_match}
"""Those that every evaluation tells."""
