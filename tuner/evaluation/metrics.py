"""How an answer is compared with what was expected: a number from 0, wrong, to 1, right."""

from __future__ import annotations

import re
from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tuner.errors import InvalidInput, TunerError
from tuner.evaluation import own_metric
from tuner.evaluation.overlap import chrf, rouge_l
from tuner.evaluation.values import numbers_agree, same_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner.jobspec.schema import MetricSpec

    Score = Callable[[str, str], float]
    """Takes what was expected and the answer."""


@runtime_checkable
class Closing(Protocol):
    """A score that holds a process."""

    def close(self) -> None:
        """End it, whatever it is at; from any thread."""


JUDGE = "judge"
_LIBRARIES = {"chrf": "sacrebleu"}
_UNSPACED = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
"""Characters of Chinese and Japanese, which put no space between words."""


def _is_installed(library: str | None) -> bool:
    return library is not None and find_spec(library) is not None


def normalize(text: str) -> str:
    """Case, punctuation and runs of white space do not count.

    After the SQuAD evaluation script (Rajpurkar et al. 2016), but articles are kept: not every
    data set is English.
    """
    return " ".join(re.sub(r"[^\w\s]|_", " ", text.casefold()).split())


def tokens(text: str) -> list[str]:
    """The words of a normalised text; of Chinese and Japanese every character."""
    return re.sub(f"({_UNSPACED})", r" \1 ", normalize(text)).split()


def scorer(spec: MetricSpec, folder: Path) -> Score:
    """How ``spec`` compares; ``folder`` is where its own module may lie, that of the job's spec.

    Raises:
        TunerError: A library is not installed. What is wrong with a module of the user's own is said
            by the first score.
    """
    if ":" in spec.kind:
        return own_metric.OwnMetric(spec.kind, folder)
    return METRICS[spec.kind](spec)


def check(spec: MetricSpec, folder: Path) -> list[tuple[str, str]]:
    """What ``scorer`` would complain of, each with a way out, before anything is sent.

    A module of the user's own is imported, a library is only looked for: that is faster.
    """
    if spec.kind == JUDGE or _is_installed(_LIBRARIES.get(spec.kind)):
        return []
    try:
        if ":" in spec.kind:
            own_metric.check(spec.kind, folder)
        else:
            scorer(spec, folder)
    except InvalidInput as error:
        return [(problem.what, problem.fix) for problem in error.problems]
    except TunerError as error:
        return [(error.what, error.fix)]
    return []


def exact_match(expected: str, answer: str) -> float:
    """To the letter."""
    return float(answer == expected)


def normalized_match(expected: str, answer: str) -> float:
    """But for case, punctuation and white space."""
    return float(normalize(answer) == normalize(expected))


def contains(expected: str, answer: str) -> float:
    """Whether the words of what was expected stand in the answer, side by side."""
    wanted, said = tokens(expected), tokens(answer)
    return float(bool(wanted) and f" {' '.join(wanted)} " in f" {' '.join(said)} ")


def token_f1(expected: str, answer: str) -> float:
    """How many words the two share, as the SQuAD script counts: the harmonic mean of both shares."""
    wanted, said = tokens(expected), tokens(answer)
    if not wanted or not said:
        return float(wanted == said)
    shared = sum((Counter(wanted) & Counter(said)).values())
    return 2 * shared / (len(wanted) + len(said))


def _regex(spec: MetricSpec) -> Score:
    from tuner.evaluation.patterns import Pattern

    return Pattern(spec.pattern)


def _numeric(spec: MetricSpec) -> Score:
    return lambda expected, answer: float(numbers_agree(expected, answer, spec.tolerance))


METRICS: dict[str, Callable[[MetricSpec], Score]] = {
    "exact_match": lambda _: exact_match,
    "normalized_match": lambda _: normalized_match,
    "contains": lambda _: contains,
    "regex": _regex,
    "json": lambda _: lambda expected, answer: float(same_json(expected, answer)),
    "token_f1": lambda _: token_f1,
    "rouge_l": lambda _: lambda expected, answer: rouge_l(tokens(expected), tokens(answer)),
    "chrf": lambda _: chrf(),
    "numeric": _numeric,
}
"""By ``evaluation.metric.kind``; a judge is no function of two texts, ``evaluation/judge.py`` has it."""

ALWAYS: dict[str, Score] = {"exact_match": exact_match, "normalized_match": normalized_match}
"""Those that every evaluation tells."""
