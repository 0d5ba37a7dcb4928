"""Jobs and pipelines followed side by side, in one session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tuner.jobs.running.session import Session
from tuner.pipelines.running import run_pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.events.events import Tell
    from tuner.job import Job
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.outcome import Outcome
    from tuner.jobs.running.runner import Pace
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.begun import Manner
    from tuner.pipelines.outcome import PipelineOutcome
    from tuner.pipelines.spec import Pipeline

    Both = tuple[Sequence[tuple[Job, PreparedJob]], Sequence[Pipeline]]


async def follow_both(
    both: Both, ledger: Ledger, asked: Manner, tell: Tell, pace: Pace
) -> list[Outcome | PipelineOutcome]:
    """Follow jobs and pipelines to their ends; first the jobs', then the pipelines' outcomes.

    ``asked`` is for the pipelines: jobs say themselves whether they are tried again or forced.

    Raises:
        TunerError: A pipeline cannot be begun: see ``run_pipeline``.
    """
    jobs, pipelines = both
    async with Session(ledger, tell, pace) as session:
        running = [
            run_pipeline(each, session, retry=asked.retry, force=asked.force) for each in pipelines
        ]
        return await asyncio.gather(*(session.follow(*pair) for pair in jobs), *running)
