"""How an answer is compared with what was expected: a number from 0, wrong, to 1, right."""

from __future__ import annotations

import json
import re
from collections import Counter
from decimal import Decimal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tuner.errors import InvalidInput, TunerError
from tuner.evaluation import custom_metric

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
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
        return custom_metric.CustomMetric(spec.kind, folder)
    return METRICS[spec.kind](spec)


def check(spec: MetricSpec, folder: Path) -> list[tuple[str, str]]:
    """What ``scorer`` would complain of, each with a way out, before anything is sent.

    A module of the user's own is imported, a library is only looked for: that is faster.
    """
    if spec.kind == JUDGE or _is_installed(_LIBRARIES.get(spec.kind)):
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


def rouge_l(expected: Sequence[str], answer: Sequence[str]) -> float:
    """The F measure of ROUGE-L (Lin 2004) over words, to the last digit that of ``rouge-score``."""
    if not expected or not answer:
        return float(expected == answer)
    common = _in_common(expected, answer)
    precision, recall = common / len(answer), common / len(expected)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def _in_common(one: Sequence[str], other: Sequence[str]) -> int:
    """How long their longest common subsequence is, a bit a word (Hyyrö 2004).

    Bit n of ``row`` is unset where the length, against what was seen of ``other``, grows with word
    n of ``one``: a row of the usual table in one number, so that 6,000 words each take milliseconds.
    """
    places: dict[str, int] = {}
    for at, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << at
    row = whole = (1 << len(one)) - 1
    for word in other:
        if met := row & places.get(word, 0):
            row = (row + met | row - met) & whole
    return len(one) - row.bit_count()


def chrf() -> Callable[[str, str], float]:
    """Character n-grams, chrF (Popović 2015), as ``sacrebleu`` computes it: up to six characters.

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
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-+\u2212]?)"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?P<power>[eE][-+]?\d+)?(?P<percent>\s*%)?"
)


def same_json(expected: str, answer: str) -> bool:
    """Whether both are JSON of the same value: 1 is 1.0, keys have no order, lists have one.

    Each may stand in a fence of three backticks, as models like to put it. What is no JSON equals
    nothing.
    """
    try:
        return _same(_parsed(expected), _parsed(answer))
    except (ValueError, ArithmeticError, RecursionError):
        return False


def _parsed(text: str) -> Any:
    fenced = _FENCED.fullmatch(text.strip())
    body = fenced.group(1) if fenced else text
    # NaN and Infinity are no JSON; numbers of any length are, and keep every digit
    return json.loads(body, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse)


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):  # true is not 1
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_same(*pair) for pair in pairs)
    return bool(one == other)


def numbers_agree(expected: str, answer: str, tolerance: float) -> bool:
    """Whether the last number of the answer is the last one expected, give or take.

    ``tolerance`` is relative to what is expected; with 0 the two are equal. 1,000.50 has a comma
    for thousands, 50 % is 0.5. A text without a number agrees with nothing.
    """
    try:
        wanted, said = last_number(expected), last_number(answer)
        if wanted is None or said is None:
            return False
        return abs(said - wanted) <= Decimal(str(tolerance)) * abs(wanted)
    except ArithmeticError:  # an exponent beyond what can be counted with
        return False


def last_number(text: str) -> Decimal | None:
    """The last number in a text; None when there is none."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    last = found[-1]
    sign = "-" if last["sign"] in ("-", "\u2212") else ""
    number = Decimal(f"{sign}{last['digits'].replace(',', '')}{last['power'] or ''}")
    return number / 100 if last["percent"] else number


def _regex(spec: MetricSpec) -> Score:
    return custom_metric.Pattern(spec.pattern)


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
