"""How much of a text stands in another, as papers report it: ROUGE-L and chrF."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import TunerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
