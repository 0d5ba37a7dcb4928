"""AnswerCache to held-out rows made into scores, by whatever metric was asked for."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tuner.data.dataset import matching
from tuner.errors import InvalidInput, Problem
from tuner.evaluation import judge, metrics
from tuner.evaluation.custom_metric import NoScoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner.evaluation.answering import AnswerCache
    from tuner.evaluation.metrics import Score
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.jobspec.schema import MetricSpec
    from tuner.targets import Target
    from tuner.types import Example


FEW = 32
QUICK = frozenset({"exact_match", "normalized_match", "contains", "token_f1"})
"""Compared with these, so few rows are done before a thread has begun."""
AT_A_TIME = 4
_THREADS = ThreadPoolExecutor(AT_A_TIME, "scoring")
"""Of their own, as a metric may take its time; few, as it may need a process and memory."""


class Scorer:
    """Scores the answers of models to the same rows from 0 to 1, all by one metric."""

    def __init__(
        self, spec: MetricSpec, work: PreparedJob, target: Target, answers: AnswerCache
    ) -> None:
        """Get ready.

        Args:
            spec: The metric.
            work: Whose rows they are; a module of its own may lie beside its spec.
            target: Where a judge is, unless the metric says otherwise.
            answers: What a judge said in earlier runs.

        Raises:
            TunerError: A library is missing.
        """
        self._spec, self._work = spec, work
        self._target, self._answers = target, answers
        folder = work.spec.path.parent
        self._score = None if spec.kind == metrics.JUDGE else metrics.scorer(spec, folder)
        self._is_over = False

    async def scores(
        self,
        rows: Sequence[Example],
        said: Sequence[Sequence[str]],
        tell: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> list[list[float]]:
        """A list of scores for each model's answers, a score a row.

        ``tell`` hears of a judge's work, judgements done and of how many. Others are computed in a
        thread, unless they are few and quick, to be called once; whoever cancels this waits for no row.

        Raises:
            TunerError: A metric of the user's own gave no score; as ``judge.judged``.
        """
        if self._score is None:
            return await self._judged(rows, said, tell)
        if self._spec.kind in QUICK and len(rows) <= FEW:
            return [self._each(self._score, rows, answers) for answers in said]
        call = asyncio.get_running_loop().run_in_executor
        try:
            return [await call(_THREADS, self._each, self._score, rows, each) for each in said]
        finally:
            self._is_over = True
            if isinstance(self._score, metrics.Closing):
                self._score.close()

    def _each(self, score: Score, rows: Sequence[Example], said: Sequence[str]) -> list[float]:
        pairs = zip(rows, said, strict=True)
        return [self._one(score, row, answer) for row, answer in pairs if not self._is_over]

    def _one(self, score: Score, row: Example, answer: str) -> float:
        try:
            return score(row.output, answer)
        except NoScoreError as error:
            raise InvalidInput([self._problem(str(error), row.line)]) from error

    def _problem(self, what: str, line: int) -> Problem:
        """At its row, where the held-out rows are those of one file; else at the spec."""
        asked, data = self._work.spec.evaluation, self._work.spec.training_data
        paths = (asked and asked.paths) or data.paths
        files = [file for path in paths for file in matching(path)] if self._work.is_on_disk else []
        fix = "a metric gives a number from 0 to 1 for every two texts, in good time"
        if len(files) == 1:
            return Problem(str(files[0]), line, 0, what, fix, "bad-metric")
        what = f"{what}, for the held-out row of line {line}"
        return Problem(str(self._work.spec.path), 0, 0, what, fix, "bad-metric")

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
