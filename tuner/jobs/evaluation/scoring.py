"""Answers to held-out rows made into scores, by whatever metric was asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tuner.errors import InvalidInput, Problem
from tuner.jobs.evaluation import judge, metrics
from tuner.jobs.evaluation.own_metric import NoScoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tuner.jobs.evaluation.answers import Answers
    from tuner.jobs.evaluation.metrics import Score
    from tuner.jobs.spec.evaluation_keys import MetricSpec
    from tuner.targets import Target
    from tuner.types import Example


class Examiner:
    """Gives scores from 0 to 1 to what models say to the same rows, all by one metric."""

    def __init__(self, spec: MetricSpec, path: Path, target: Target, answers: Answers) -> None:
        """Get ready.

        Args:
            spec: The metric.
            path: The job's spec file; a module of its own may lie beside it.
            target: Where a judge is, unless the metric says otherwise.
            answers: What a judge said in earlier runs.

        Raises:
            TunerError: A library or the user's own module is missing.
        """
        self._spec, self._path = spec, path
        self._target, self._answers = target, answers
        self._score = None if spec.kind == metrics.JUDGE else metrics.scorer(spec, path.parent)

    async def scores(
        self,
        rows: Sequence[Example],
        said: Sequence[Sequence[str]],
        tell: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> list[list[float]]:
        """A list of scores for each model's answers, a score a row.

        ``tell`` hears of a judge's work, judgements done and of how many.

        Raises:
            TunerError: A metric of the user's own gave no score; as ``judge.judged``.
        """
        if self._score is None:
            return await self._judged(rows, said, tell)
        score = self._score
        return [await asyncio.to_thread(self._each, score, rows, answers) for answers in said]

    def _each(self, score: Score, rows: Sequence[Example], said: Sequence[str]) -> list[float]:
        return [self._one(score, row, answer) for row, answer in zip(rows, said, strict=True)]

    def _one(self, score: Score, row: Example, answer: str) -> float:
        try:
            return score(row.output, answer)
        except NoScoreError as error:
            what = f"{error}, for the held-out row of line {row.line}"
            fix = "a metric gives a number from 0 to 1 for every two texts"
            raise InvalidInput([Problem(str(self._path), 0, 0, what, fix, "bad-metric")]) from error

    async def _judged(
        self,
        rows: Sequence[Example],
        said: Sequence[Sequence[str]],
        tell: Callable[[int, int], None],
    ) -> list[list[float]]:
        cases = [
            judge.Case(row.text_input, row.output, answer, row.line)
            for answers in said
            for row, answer in zip(rows, answers, strict=True)
        ]
        total = len({case[:3] for case in cases})
        done = 0

        def count(judged: int) -> None:
            nonlocal done
            done += judged
            tell(done, total)

        scores = await judge.judged(self._target, self._spec, cases, self._answers, count)
        return [scores[start : start + len(rows)] for start in range(0, len(cases), len(rows))]
