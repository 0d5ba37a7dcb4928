"""How many tokens a step of a tuning takes, so that a watcher can tell tokens a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tuner.errors import TunerError
from tuner.events import events

if TYPE_CHECKING:
    from tuner.events.events import Event, Tell
    from tuner.job import Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.targets import Target

SAMPLE_ROWS = 8


class Meter:
    """Passes events on, and adds one Measured when the first sign of a running tuning comes.

    It asks the service in the background; what it cannot learn is not told.
    """

    def __init__(self, work: PreparedJob, target: Target, tell: Tell) -> None:
        """Measure ``work`` on ``target``, which counts with the model's own tokenizer."""
        self._work = work
        self._target = target
        self._tell = tell
        self._task: asyncio.Task[None] | None = None

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        self._tell(event)
        if isinstance(event, events.Progress) and self._task is None and not event.operation.done:
            self._task = asyncio.ensure_future(self._measure(event.job))

    def close(self) -> None:
        """Stop asking."""
        if self._task:
            self._task.cancel()

    async def _measure(self, job: Job) -> None:
        try:
            tuned = await self._target.tuned_model(job.tuned_model)
            per_row = await tokens_per_row(self._work, self._target)
        except TunerError:
            return
        batch_size = tuned.hyperparameters.batch_size or 0
        self._tell(events.Measured(job, round(per_row * batch_size)))


async def tokens_per_row(work: PreparedJob, target: Target) -> float:
    """The mean over a few rows spread over all, answer included, as the base model counts them."""
    model = work.spec.base_model or work.spec.tuned_model_source
    rows = work.examples[:: max(1, len(work.examples) // SAMPLE_ROWS)][:SAMPLE_ROWS]
    texts = [f"{row.text_input}{row.output}" for row in rows]
    counts = [await target.count_tokens(model, text) for text in texts]
    return sum(counts) / len(counts)
