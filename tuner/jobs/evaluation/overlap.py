"""How much of a text stands in another, by the libraries that papers report: ROUGE-L and chrF."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import TunerError

if TYPE_CHECKING:
    from collections.abc import Callable


def rouge_l(tokens: Callable[[str], list[str]]) -> Callable[[str, str], float]:
    """The F measure of ROUGE-L (Lin 2004) over ``tokens``, as ``rouge-score`` computes it.

    Its own tokenizer keeps the letters a to z alone: any other script would score 0.

    Raises:
        TunerError: ``rouge-score`` is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise _missing("rouge_l", "rouge-score") from error

    class Tokenizer:
        def tokenize(self, text: str) -> list[str]:
            return tokens(text)

    library = RougeScorer(["rougeL"], tokenizer=Tokenizer())

    def score(expected: str, answer: str) -> float:
        if not tokens(expected) or not tokens(answer):
            return float(tokens(expected) == tokens(answer))
        return float(library.score(expected, answer)["rougeL"].fmeasure)

    return score


def chrf() -> Callable[[str, str], float]:
    """Character n-grams, chrF (Popović 2015), as ``sacrebleu`` computes it: up to six characters.

    Raises:
        TunerError: ``sacrebleu`` is not installed.
    """
    try:
        from sacrebleu.metrics import CHRF
    except ImportError as error:
        raise _missing("chrf", "sacrebleu") from error
    library = CHRF()

    def score(expected: str, answer: str) -> float:
        if not expected.strip() or not answer.strip():
            return float(expected.strip() == answer.strip())
        return float(library.sentence_score(answer, [expected]).score / 100)

    return score


def _missing(metric: str, library: str) -> TunerError:
    return TunerError(
        f"metric {metric} needs {library}, which is not installed",
        "pip install 'tuner[evaluation]'",
    )
