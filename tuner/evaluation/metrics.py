"""Metrics that compare an answer with the expected output: a number from 0, wrong, to 1, right."""

from __future__ import annotations

import json
import re
from collections import Counter
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tuner.errors import InvalidInput, TunerError
from tuner.evaluation import custom_metric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tuner.jobspec.schema import MetricSpec

    Score = Callable[[str, str], float]
    """Takes the expected output and the answer."""

JUDGE = "judge"


def scorer(spec: MetricSpec, folder: Path) -> Score:
    """Return the function that compares by ``spec``; a custom metric may be in ``folder``, the spec's.

    Raises:
        TunerError: A library is not installed. Errors of a custom metric are raised by its first call.
    """
    if ":" in spec.kind:
        return custom_metric.CustomMetric(spec.kind, folder)
    return METRICS[spec.kind](spec)


def check(spec: MetricSpec, folder: Path) -> list[tuple[str, str]]:
    """Return the problems that ``scorer`` would have, each with a fix, before anything is sent.

    A custom metric is imported; a library is only searched for, which is faster.
    """
    if spec.kind == JUDGE or (spec.kind == "chrf" and find_spec("sacrebleu")):
        return []
    try:
        if ":" in spec.kind:
            custom_metric.check(spec.kind, folder)
        else:
            scorer(spec, folder)
    except InvalidInput as error:
        return [(problem.what, problem.fix) for problem in error.problems]
    except TunerError as error:
        return [(error.what, error.fix)]
    return []


def normalize(text: str) -> str:
    """Fold case, replace punctuation by spaces, and merge white space.

    After the SQuAD evaluation script (Rajpurkar et al. 2016), but articles are kept: not every
    data set is English.
    """
    return " ".join(re.sub(r"[^\w\s]|_", " ", text.casefold()).split())


_UNSPACED = r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
"""Characters of Chinese and Japanese, which have no spaces between words."""


def tokens(text: str) -> list[str]:
    """Return the words of a normalised text; of Chinese and Japanese every character."""
    return re.sub(_UNSPACED, r" \1 ", normalize(text)).split()


def exact_match(expected: str, answer: str) -> float:
    """Return 1 if the texts are equal."""
    return float(answer == expected)


def normalized_match(expected: str, answer: str) -> float:
    """Return 1 if the texts are equal except for case, punctuation and white space."""
    return float(normalize(answer) == normalize(expected))


def contains(expected: str, answer: str) -> float:
    """Return 1 if the expected words are in the answer, next to each other."""
    needle, words = tokens(expected), tokens(answer)
    return float(bool(needle) and f" {' '.join(needle)} " in f" {' '.join(words)} ")


def token_f1(expected: str, answer: str) -> float:
    """Return the F1 score of shared words, as the SQuAD evaluation script does."""
    wanted, found = tokens(expected), tokens(answer)
    if not wanted or not found:
        return float(wanted == found)
    shared = sum((Counter(wanted) & Counter(found)).values())
    return 2 * shared / (len(wanted) + len(found))


def rouge_l(expected: Sequence[str], answer: Sequence[str]) -> float:
    """Return the ROUGE-L F measure (Lin 2004) of two lists of words, equal to that of ``rouge-score``."""
    if not expected or not answer:
        return float(expected == answer)
    common = _common_subsequence_length(expected, answer)
    precision, recall = common / len(answer), common / len(expected)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def _common_subsequence_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, bit-parallel (Hyyrö 2004).

    ``row`` is one row of the usual table: bit n is 0 where the length grows with word n of ``one``.
    Texts of 6,000 words take milliseconds.
    """
    bits_of: dict[str, int] = {}
    for at, word in enumerate(one):
        bits_of[word] = bits_of.get(word, 0) | 1 << at
    row = mask = (1 << len(one)) - 1
    for word in other:
        if matches := row & bits_of.get(word, 0):
            row = (row + matches | row - matches) & mask
    return len(one) - row.bit_count()


def chrf() -> Score:
    """Return chrF (Popović 2015) on n-grams of up to six characters, as ``sacrebleu`` computes it.

    Raises:
        TunerError: ``sacrebleu`` is not installed.
    """
    try:
        from sacrebleu.metrics import CHRF
    except ImportError as error:
        raise TunerError(
            "metric chrf needs sacrebleu, which is not installed", "pip install 'tuner[evaluation]'"
        ) from error
    library = CHRF()

    def score(expected: str, answer: str) -> float:
        if not expected.strip() or not answer.strip():
            return float(expected.strip() == answer.strip())
        return float(library.sentence_score(answer, [expected]).score / 100)

    return score


_FENCED = re.compile(r"```(?:json)?[^\S\n]*\n(.*)```", re.DOTALL | re.IGNORECASE)


def json_equal(expected: str, answer: str) -> float:
    """Return 1 if both are JSON with the same value: 1 equals 1.0, order counts in lists only.

    Either may be in a Markdown code fence. Text that is not JSON equals nothing.
    """
    try:
        return float(_same_value(_parse_json(expected), _parse_json(answer)))
    except (ValueError, ArithmeticError, RecursionError):
        return 0.0


def _parse_json(text: str) -> Any:
    fenced = _FENCED.fullmatch(text.strip())
    body = fenced.group(1) if fenced else text
    # Decimal keeps every digit
    return json.loads(body, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse)


def _refuse(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are not JSON


def _same_value(one: Any, other: Any) -> bool:
    if type(one) is not type(other):  # True == 1 in Python
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same_value(one[key], other[key]) for key in one)
    if isinstance(one, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_same_value(*pair) for pair in pairs)
    return bool(one == other)


def numbers_agree(expected: str, answer: str, tolerance: float) -> float:
    """Return 1 if the last number of the answer is the last expected one, within ``tolerance``.

    ``tolerance`` is relative to the expected number. 1,000.50 has a comma for thousands, 50 % is 0.5.
    A text without a number agrees with nothing.
    """
    try:
        wanted, found = last_number(expected), last_number(answer)
        if wanted is None or found is None:
            return 0.0
        return float(abs(found - wanted) <= Decimal(str(tolerance)) * abs(wanted))
    except ArithmeticError:  # the exponent is too large
        return 0.0


_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-+\u2212]?)"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?P<power>[eE][-+]?\d+)?(?P<percent>\s*%)?"
)


def last_number(text: str) -> Decimal | None:
    """Return the last number in a text; None if there is none."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    last = found[-1]
    sign = "-" if last["sign"] in ("-", "\u2212") else ""
    number = Decimal(f"{sign}{last['digits'].replace(',', '')}{last['power'] or ''}")
    return number / 100 if last["percent"] else number


METRICS: dict[str, Callable[[MetricSpec], Score]] = {
    "exact_match": lambda _: exact_match,
    "normalized_match": lambda _: normalized_match,
    "contains": lambda _: contains,
    "regex": lambda spec: custom_metric.Pattern(spec.pattern),
    "json": lambda _: json_equal,
    "token_f1": lambda _: token_f1,
    "rouge_l": lambda _: lambda expected, answer: rouge_l(tokens(expected), tokens(answer)),
    "chrf": lambda _: chrf(),
    "numeric": lambda spec: partial(numbers_agree, tolerance=spec.tolerance),
}
"""By ``evaluation.metric.kind``; the judge, which is no function of two texts, is in ``judge.py``."""

ALWAYS: dict[str, Score] = {"exact_match": exact_match, "normalized_match": normalized_match}
"""Metrics that every evaluation reports."""
