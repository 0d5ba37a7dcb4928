"""One process's work on many jobs: the ledger, the open targets and the pace, shared by all of them."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from tuner.errors import NotAllowed, RequestRefused, TunerError, Unavailable
from tuner.jobs.connections import Connections
from tuner.jobs.measure import Meter
from tuner.jobs.outcome import Outcome
from tuner.jobs.runner import PATIENCE_S, POLL_S, Runner, reached
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tuner.jobs.events import Tell
    from tuner.jobs.job import Job
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.runner import Pace
    from tuner.jobs.work import Work
    from tuner.targets import Target
    from tuner.types import Permission, TargetConfig

    Step = Callable[[Job, Target], Awaitable[Job]]

RESTARTS = 3


class Session:
    """What the jobs of one run share; opened once, as an async context manager.

    Attributes:
        ledger: Where the jobs are written down.
        tell: Who hears of everything.
        pace: How time is spent; each job's target decides on its own part of it.
    """

    def __init__(self, ledger: Ledger, tell: Tell, pace: Pace) -> None:
        """Nothing is opened before it is needed."""
        self.ledger, self.tell, self.pace = ledger, tell, pace
        self._connections = Connections()
        self._following: dict[tuple[str, str], asyncio.Lock] = {}

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what was opened."""
        await self._connections.__aexit__()

    async def follow(self, job: Job, work: Work, *, until: Phase | None = None) -> Outcome:
        """Advance a job to its end, or to a phase: ``until``, or the pace's; never raises TunerError.

        Whoever follows a job that this session follows already waits, and then goes on from there.
        """
        until = until or self.pace.until
        lock = self._following.setdefault((job.where, job.tuned_model), asyncio.Lock())
        waited = lock.locked()
        async with lock:
            if waited:
                job = self.ledger.find(job.where, job.tuned_model) or job
                if job.phase.is_end or reached(job.phase, until):
                    return Outcome(job)
            pace = replace(self._paced(job, work.spec.timeout_s), until=until)
            return await self._outcome(job, lambda job, on: self._step(job, work, on, pace))

    async def watch(self, job: Job, *, cancel: bool = False) -> Outcome:
        """Watch a tuning to its end, after asking for that end with ``cancel``."""
        pace = self._paced(job)

        async def step(job: Job, target: Target) -> Job:
            if cancel:
                await _cancel(job, target)
            return await Runner(self.ledger, self.tell, pace).watch(job, target)

        return await self._outcome(job, step)

    async def target(self, config: TargetConfig) -> Target:
        """The target, open; for reads, and for what belongs to no job.

        Raises:
            NotAllowed, Unavailable: As ``open_target``.
        """
        return await self._connections.get(config)

    async def _step(self, job: Job, work: Work, target: Target, pace: Pace) -> Job:
        if not pace.measures:
            return await Runner(self.ledger, self.tell, pace).follow(job, work, target)
        with closing(Meter(work, target, self.tell)) as meter:
            return await Runner(self.ledger, meter, pace).follow(job, work, target)

    def _paced(self, job: Job, timeout_s: float | None = None) -> Pace:
        """The pace for one job: its target's, and its own timeout unless the command line has one."""
        deadline = self.pace.deadline
        if deadline is None and timeout_s is not None:
            deadline = self.pace.now() + timeout_s
        kind = job.target.kind
        return replace(
            self.pace, poll_s=POLL_S[kind], patience_s=PATIENCE_S[kind], deadline=deadline
        )

    async def _outcome(self, job: Job, step: Step) -> Outcome:
        """Follow one job; a local service that died is started again, ``RESTARTS`` times at most."""
        target = None
        for restarts_left in reversed(range(RESTARTS + 1)):
            try:
                target = await self._connections.get(job.target, gone=target)
                job = await step(job, target)
            except TunerError as error:
                job = self.ledger.find(job.where, job.tuned_model) or job
                is_away = isinstance(error, Unavailable) and error.is_passing
                if not (is_away and job.target.kind == "local" and restarts_left):
                    return Outcome(job, error)
            else:
                break
        if job.phase is not Phase.DONE or target is None:
            return Outcome(job)
        return Outcome(job, permissions=await _permissions(job, target))


async def _cancel(job: Job, target: Target) -> None:
    if job.phase not in (Phase.SUBMIT, Phase.TUNE):
        raise RequestRefused(
            f"{job.name} is past its tuning ({job.phase.lower()}): there is nothing to cancel",
            f"`tuner models delete {job.tuned_model}` deletes the model",
        )
    operations = [job.operation] if job.operation else []
    if not operations:
        operations = [operation.name for operation in await target.operations(job.tuned_model)]
    for operation in operations:
        await target.cancel(operation)


async def _permissions(job: Job, target: Target) -> tuple[Permission, ...]:
    """For the last look; after a transfer the service may show them to the owner only."""
    try:
        return tuple(await target.permissions(job.tuned_model))
    except (NotAllowed, RequestRefused):
        return ()
