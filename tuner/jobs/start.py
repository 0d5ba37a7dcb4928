"""From checked work to followed jobs: bookmarks found or made, targets opened once, all at once."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner import names
from tuner.errors import InvalidInput, NotAllowed, Problem, RequestRefused, TunerError, Unavailable
from tuner.jobs.connections import Connections
from tuner.jobs.job import Job
from tuner.jobs.measure import Meter
from tuner.jobs.outcome import Outcome
from tuner.jobs.runner import PATIENCE_S, POLL_S, Runner
from tuner.jobs.work import content_id, new_tuned_model
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tuner.jobs.events import Tell
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.runner import Pace
    from tuner.jobs.work import Work
    from tuner.targets import Target
    from tuner.types import Permission

RESTARTS = 3


def begin(work: Work, ledger: Ledger, overrides: Sequence[str] = (), *, new: bool = False) -> Job:
    """The bookmark to go on from: the one in the ledger, or a new one.

    An ended job starts over: every step asks first, so that what is true already stays as it is.
    ``overrides`` are those that ``work`` was loaded with, for a later resume; ``new`` gives the tuned model an id of its own in place of the content's.
    """
    content = content_id(work)
    wanted = names.content_id(work.spec.job, secrets.token_hex(5)) if new else None
    job = Job(
        name=work.spec.job,
        target=work.spec.target,
        tuned_model=names.tuned_model(wanted or new_tuned_model(work).id),
        content=content,
        spec=str(work.spec.path.absolute()) if work.is_on_disk else "",
        overrides=tuple(overrides),
    )
    known = ledger.find(job.where, job.tuned_model)
    if known is None:
        return job
    phase = Phase.SUBMIT if known.phase.is_end else known.phase
    return replace(
        known,
        name=job.name,
        target=job.target,
        content=content,
        spec=job.spec or known.spec,
        overrides=job.overrides if job.spec else known.overrides,
        phase=phase,
        error="",
    )


def unchanged(job: Job, work: Work) -> Job:
    """``job`` to be resumed, refused when its spec or data are no longer what was submitted."""
    if job.content != content_id(work):
        problem = Problem(
            job.spec,
            0,
            0,
            f"the spec or its data changed since {job.name} was submitted as {job.tuned_model}",
            f"put them back to resume it, or start another with `tuner run {job.spec}`",
        )
        raise InvalidInput([problem])
    phase = Phase.SUBMIT if job.phase.is_end else job.phase
    return replace(job, phase=phase, error="")


async def follow_all(
    pairs: Sequence[tuple[Job, Work]], ledger: Ledger, tell: Tell, pace: Pace
) -> list[Outcome]:
    """Follow jobs side by side, to their ends or to ``pace.until``; one's failure stops no other."""

    async def one(job: Job, work: Work, target: Target) -> Job:
        paced = _paced(pace, job, work.spec.timeout_s)
        if not pace.measures:
            return await Runner(ledger, tell, paced).follow(job, work, target)
        with closing(Meter(work, target, tell)) as meter:
            return await Runner(ledger, meter, paced).follow(job, work, target)

    return await _on_targets([(job, _with(one, work)) for job, work in pairs], ledger)


async def watch_all(
    jobs: Sequence[Job], ledger: Ledger, tell: Tell, pace: Pace, *, cancel: bool = False
) -> list[Outcome]:
    """Watch tunings to their ends, after asking for that end where ``cancel`` is set."""

    async def one(job: Job, target: Target) -> Job:
        if cancel:
            await _cancel(job, target)
        return await Runner(ledger, tell, _paced(pace, job)).watch(job, target)

    return await _on_targets([(job, one) for job in jobs], ledger)


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


def _with(
    one: Callable[[Job, Work, Target], Awaitable[Job]], work: Work
) -> Callable[[Job, Target], Awaitable[Job]]:
    return lambda job, target: one(job, work, target)


def _paced(pace: Pace, job: Job, timeout_s: float | None = None) -> Pace:
    """The pace for one job: its target's, and its own timeout unless the command line has one."""
    deadline = pace.deadline
    if deadline is None and timeout_s is not None:
        deadline = pace.now() + timeout_s
    return replace(
        pace,
        poll_s=POLL_S[job.target.kind],
        patience_s=PATIENCE_S[job.target.kind],
        deadline=deadline,
    )


async def _on_targets(
    steps: Sequence[tuple[Job, Callable[[Job, Target], Awaitable[Job]]]], ledger: Ledger
) -> list[Outcome]:
    async with Connections() as connections:
        return await asyncio.gather(
            *(_outcome(job, step, connections, ledger) for job, step in steps)
        )


async def _outcome(
    job: Job,
    step: Callable[[Job, Target], Awaitable[Job]],
    connections: Connections,
    ledger: Ledger,
) -> Outcome:
    """Follow one job; a local service that died is started again, ``RESTARTS`` times at the most."""
    target = None
    for restarts_left in reversed(range(RESTARTS + 1)):
        try:
            target = await connections.get(job.target, gone=target)
            job = await step(job, target)
        except TunerError as error:
            job = ledger.find(job.where, job.tuned_model) or job
            is_away = isinstance(error, Unavailable) and error.is_passing
            if not (is_away and job.target.kind == "local" and restarts_left):
                return Outcome(job, error)
        else:
            break
    if job.phase is not Phase.DONE or target is None:
        return Outcome(job)
    return Outcome(job, permissions=await _permissions(job, target))


async def _permissions(job: Job, target: Target) -> tuple[Permission, ...]:
    """For the last look; after a transfer the service may show them to the owner only."""
    try:
        return tuple(await target.permissions(job.tuned_model))
    except (NotAllowed, RequestRefused):
        return ()
