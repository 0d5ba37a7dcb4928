"""Comparison of several models on the same held-out rows."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tuner import names
from tuner.evaluation import answering, gate
from tuner.evaluation.scorer import Scorer
from tuner.events.events import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tuner.evaluation.answering import AnswerCache
    from tuner.events.events import EventHandler
    from tuner.job import Interval, Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.targets import Target
    from tuner.types import TargetConfig

    OpenTarget = Callable[[TargetConfig], Awaitable[Target]]


class ModelScore(NamedTuple):
    """The answers and scores of one model.

    Attributes:
        job: Names the model and its target.
        said: Its answers, one a row.
        scores: How good each is, from 0 to 1, by the metric of the rows' spec.
        difference: Of the mean score, to the first model's; 0 for that one.
        interval: Of the difference; None for the first model, and for less than two rows.
    """

    job: Job
    said: Sequence[str]
    scores: Sequence[float]
    difference: float = 0.0
    interval: Interval | None = None

    @property
    def mean(self) -> float:
        """The mean score."""
        return sum(self.scores) / len(self.scores)


async def compared(
    jobs: Sequence[Job],
    work: PreparedJob,
    open_: OpenTarget,
    answers: Callable[[str], AnswerCache],
    tell: EventHandler,
) -> list[ModelScore]:
    """Send the held-out rows of ``work`` to each job's model, and score the answers by its metric.

    Args:
        jobs: Whose models to ask; base models are told the task as the spec's own base is.
        work: Where rows, metric and instructions come from.
        open_: Opens a target.
        answers: What the models of a target (``Job.where``) answered so far.
        tell: Hears of every answer.

    Returns:
        One score per job, in the order of ``jobs``.

    Raises:
        TunerError: As ``answering.ask`` and ``Scorer``.
    """
    first = jobs[0]
    target = await open_(first.target)
    scorer = Scorer(gate.metric_of(work), work, target, answers(first.where))
    said = await answering.run_all(_answered(job, work, open_, answers, tell) for job in jobs)
    scores = await scorer.scores(
        work.holdout,
        said,
        lambda done, total: tell(Event(EventKind.JUDGING, first, done=done, total=total)),
    )
    standings = map(ModelScore, jobs, said, scores)
    against = partial(_against, scores[0], gate.digest(work))
    return await asyncio.to_thread(lambda: [against(each) for each in standings])


async def _answered(
    job: Job,
    work: PreparedJob,
    open_: OpenTarget,
    answers: Callable[[str], AnswerCache],
    tell: EventHandler,
) -> list[str]:
    is_tuned = names.is_tuned_model(job.tuned_model)
    prompts = [row.text_input for row in work.holdout] if is_tuned else gate.base_prompts(work)
    done = 0

    def count(answered: int) -> None:
        nonlocal done
        done += answered
        tell(Event(EventKind.EVALUATING, job, done=done, total=len(prompts)))

    config = gate.settings(work.holdout)
    target, kept = await open_(job.target), answers(job.where)
    return await answering.ask(target, job.tuned_model, prompts, config, kept, count)


def _against(first: Sequence[float], seed: str, standing: ModelScore) -> ModelScore:
    if standing.scores is first:
        return standing
    differences = [score - its for score, its in zip(standing.scores, first, strict=True)]
    return standing._replace(
        difference=sum(differences) / len(differences),
        interval=gate.interval(differences, seed),
    )
