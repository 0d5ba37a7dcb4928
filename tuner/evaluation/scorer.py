"""Scores of answers to held-out rows, by any metric."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tuner.data.dataset import matching
from tuner.errors import InvalidInput, Problem
from tuner.evaluation import judge, metrics
from tuner.evaluation.custom_metric import CustomMetric, NoScoreError, Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner.evaluation.answering import AnswerCache
    from tuner.evaluation.metrics import Score
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.jobspec.schema import MetricSpec
    from tuner.targets import Target
    from tuner.types import Example


MAX_ROWS_WITHOUT_THREAD = 32
FAST_METRICS = frozenset({"exact_match", "normalized_match", "contains", "token_f1"})
_THREADS = ThreadPoolExecutor(4, "scoring")
"""Not asyncio's default pool: a metric may block its thread for long."""


class Scorer:
    """Scores answers to the same rows from 0 to 1, all by one metric; for one call of ``scores``."""

    def __init__(
        self, spec: MetricSpec, work: PreparedJob, target: Target, cache: AnswerCache
    ) -> None:
        """Create a scorer for the rows of ``work``; ``target`` has the judge, unless the metric names one.

        Raises:
            TunerError: A library is missing.
        """
        self._spec, self._work = spec, work
        self._target, self._cache = target, cache
        folder = work.spec.path.parent
        self._score = None if spec.kind == metrics.JUDGE else metrics.scorer(spec, folder)
        self._is_closed = False

    async def scores(
        self,
        rows: Sequence[Example],
        answers: Sequence[Sequence[str]],
        on_judged: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> list[list[float]]:
        """Return a list of scores, one per row, for each model's list of answers.

        ``on_judged`` is called with the judgements done and their total, if the metric is a judge.
        Slow metrics run in a thread; cancelling this does not wait for them.

        Raises:
            TunerError: A custom metric returned no score; as ``judge.judge_answers``.
        """
        score = self._score
        if score is None:
            return await self._judge(rows, answers, on_judged)
        if self._spec.kind in FAST_METRICS and len(rows) <= MAX_ROWS_WITHOUT_THREAD:
            return [self._score_rows(score, rows, each) for each in answers]
        call = asyncio.get_running_loop().run_in_executor
        try:
            return [await call(_THREADS, self._score_rows, score, rows, each) for each in answers]
        finally:
            self._is_closed = True
            if isinstance(score, CustomMetric | Pattern):
                score.close()

    def _score_rows(
        self, score: Score, rows: Sequence[Example], answers: Sequence[str]
    ) -> list[float]:
        scores = []
        for row, answer in zip(rows, answers, strict=True):
            if self._is_closed:
                break
            try:
                scores.append(score(row.output, answer))
            except NoScoreError as error:
                raise InvalidInput([self._problem(str(error), row.line)]) from error
        return scores

    def _problem(self, what: str, line: int) -> Problem:
        """Locate a problem at its row if all held-out rows are in one file, else at the spec."""
        evaluation, data = self._work.spec.evaluation, self._work.spec.training_data
        paths = (evaluation and evaluation.paths) or data.paths
        files = [file for path in paths for file in matching(path)] if self._work.is_on_disk else []
        fix = "the metric must return a number from 0 to 1 for any two texts, within the time limit"
        if len(files) == 1:
            return Problem(str(files[0]), line, 0, what, fix, "bad-metric")
        what = f"{what}, for the held-out row of line {line}"
        return Problem(str(self._work.spec.path), 0, 0, what, fix, "bad-metric")

    async def _judge(
        self,
        rows: Sequence[Example],
        answers: Sequence[Sequence[str]],
        on_judged: Callable[[int, int], None],
    ) -> list[list[float]]:
        cases = [
            judge.Case(row.text_input, row.output, answer, row.line)
            for each in answers
            for row, answer in zip(rows, each, strict=True)
        ]
        total = len({case[:3] for case in cases})
        done = 0

        def count(judged: int) -> None:
            nonlocal done
            done += judged
            on_judged(done, total)

        scores = await judge.judge_answers(self._target, self._spec, cases, self._cache, count)
        return [scores[start : start + len(rows)] for start in range(0, len(cases), len(rows))]
