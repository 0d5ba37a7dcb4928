"""How probable it is that passages answer a question, and which of them an answer rests on.

A logistic of two things: how like the question the nearest sentence is, and how many of the question's
words its passage has. Fitted by benchmarks/answerable.py, as if every second question had an answer.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    Embed = Callable[[list[str]], Awaitable[list[list[float]]]]

SUPPORTED = 0.5  # a passage that less probably says what an answer says is not its source
NEAR = 0.1  # likeness: passages so near to the best one are named beside it
NEAR_SENTENCE = 1.5  # logits: sentences so near to the best one may be quoted beside it
CLAIM_WORDS = 3
STEM = 5  # letters by which words are told apart: opens, opened, opening
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=\u3002)|\n+")
_WORD = re.compile(r"\w+")
_SMALL = frozenset(
    _WORD.findall(
        "a an and are as at be been by can could did do does for from had has have he her his how i if in is it"
        " its long many may me much must my not of often on one or our she should than that the their then"
        " there they this to was were what when where which who whom why will with would you your"
    )
)


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the logistic."""

    likeness: float
    coverage: float
    constant: float


@dataclass(frozen=True, slots=True)
class Match:
    """A text beside a passage.

    Attributes:
        likeness: The greatest cosine between the text and a sentence; 0 where nothing can tell.
        coverage: The part of the text's words that the passage has.
    """

    likeness: float
    coverage: float


EMBEDDER = "models/all-minilm-l6-v2"  # whose cosines the weights are for
WEIGHTS = Weights(likeness=7.95, coverage=5.02, constant=-6.90)
WORD_WEIGHTS = Weights(likeness=0.0, coverage=7.47, constant=-3.91)


def probability(matches: Iterable[Match], weights: Weights) -> float:
    """That the passages hold what the text asks or says: from the best sentence, and the best passage."""
    found = list(matches)
    likeness = max(match.likeness for match in found)
    coverage = max(match.coverage for match in found)
    return 1 / (1 + math.exp(-score(likeness, coverage, weights)))


def score(likeness: float, coverage: float, weights: Weights) -> float:
    """The logit of a probability."""
    return weights.likeness * likeness + weights.coverage * coverage + weights.constant


def sources(matches: Sequence[Match], weights: Weights) -> list[bool]:
    """For each passage whether an answer rests on it; the matches are of what it claims."""
    scores = [score(match.likeness, match.coverage, weights) for match in matches]
    near = NEAR * (weights.likeness or weights.coverage)
    return [
        each >= max(scores) - near and probability([match], weights) >= SUPPORTED
        for each, match in zip(scores, matches, strict=True)
    ]


async def compare(
    texts: Sequence[str], passages: Sequence[str], embed: Embed | None
) -> list[list[Match]]:
    """Each text beside each passage; without ``embed`` by their words alone."""
    parts = [sentences(passage) for passage in passages]
    if embed is None:
        return [[Match(0.0, coverage(text, passage)) for passage in passages] for text in texts]
    vectors = iter(await embed([*texts, *(part for each in parts for part in each)]))
    asked = [next(vectors) for _ in texts]
    said = [[next(vectors) for _ in each] for each in parts]
    return [
        [
            Match(
                max((_cosine(vector, other) for other in inner), default=0.0),
                coverage(text, passage),
            )
            for passage, inner in zip(passages, said, strict=True)
        ]
        for text, vector in zip(texts, asked, strict=True)
    ]


def nearest_last(question: str, passages: Sequence[str]) -> list[str]:
    """The passages by how many of the question's words they have, the most last."""
    return sorted(passages, key=lambda passage: coverage(question, passage))


def nearest(parts: Sequence[str], matches: Sequence[Match], weights: Weights) -> list[str]:
    """The sentences that most probably answer; the matches are of the question beside each."""
    scores = [score(match.likeness, match.coverage, weights) for match in matches]
    best = max(scores)
    return [part for part, each in zip(parts, scores, strict=True) if each >= best - NEAR_SENTENCE]


def claim(question: str, answer: str) -> str:
    """What an answer says; a short one, as ``1957``, says something only with its question."""
    return answer if len(_stems(answer)) >= CLAIM_WORDS else f"{question} {answer}"


def sentences(passage: str) -> list[str]:
    """A passage in sentences, blank ones left out."""
    return [part for each in _SENTENCE_END.split(passage) if (part := each.strip())]


def coverage(text: str, passage: str) -> float:
    """The part of the text's words that the passage has, small ones left out."""
    words = _stems(text)
    return len(words & _stems(passage)) / len(words) if words else 0.0


def _stems(text: str) -> set[str]:
    return {word[:STEM] for word in _WORD.findall(text.lower()) if word not in _SMALL}


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / product if product else 0.0
