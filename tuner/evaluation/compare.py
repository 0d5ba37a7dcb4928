"""Comparison of several models on the same held-out rows."""

from __future__ import annotations

import asyncio
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
        answers: One per row.
        scores: One per row, from 0 to 1, by the metric of the rows' spec.
        difference: Mean score minus that of the first model.
        interval: 95 % interval of the difference; None for the first model and for a single row.
    """

    job: Job
    answers: Sequence[str]
    scores: Sequence[float]
    difference: float = 0.0
    interval: Interval | None = None

    @property
    def mean(self) -> float:
        """The mean score."""
        return sum(self.scores) / len(self.scores)


async def compare_models(
    jobs: Sequence[Job],
    work: PreparedJob,
    open_target: OpenTarget,
    cache_of: Callable[[str], AnswerCache],
    emit: EventHandler,
) -> list[ModelScore]:
    """Send the held-out rows of ``work`` to each job's model, and score the answers by its metric.

    Base models get the prompts that the spec's own base model gets. ``cache_of`` returns the answers of
    a target (``Job.where``). The scores are in the order of ``jobs``.

    Raises:
        TunerError: As ``answering.ask`` and ``Scorer``.
    """

    async def answers_of(job: Job) -> list[str]:
        is_tuned = names.is_tuned_model(job.tuned_model)
        prompts = [row.text_input for row in work.holdout] if is_tuned else gate.base_prompts(work)
        count = gate.answer_counter(job, len(prompts), emit)
        config, cache = gate.generation_config(work.holdout), cache_of(job.where)
        target = await open_target(job.target)
        return await answering.ask(target, job.tuned_model, prompts, config, cache, count)

    first = jobs[0]
    scorer = Scorer(
        gate.metric_of(work), work, await open_target(first.target), cache_of(first.where)
    )
    answers = await answering.run_all(answers_of(job) for job in jobs)
    scores = await scorer.scores(
        work.holdout,
        answers,
        lambda done, total: emit(Event(EventKind.JUDGING, first, done=done, total=total)),
    )
    found = list(map(ModelScore, jobs, answers, scores))
    seed = gate.digest(work)
    return found[:1] + await asyncio.to_thread(
        lambda: [_compared_with(scores[0], each, seed) for each in found[1:]]
    )


def _compared_with(baseline: Sequence[float], model: ModelScore, seed: str) -> ModelScore:
    differences = [score - base for score, base in zip(model.scores, baseline, strict=True)]
    return model._replace(
        difference=sum(differences) / len(differences), interval=gate.interval(differences, seed)
    )
