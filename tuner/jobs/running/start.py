"""From checked work to followed jobs: bookmarks found or made, and all of them at once."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner import names
from tuner.errors import InvalidInput, Problem
from tuner.job import Job, rewound
from tuner.jobs.running.session import Session
from tuner.jobspec.prepared_job import content_id, new_tuned_model
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.events.events import EventHandler
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.outcome import Outcome
    from tuner.jobs.running.runner import Pace
    from tuner.jobspec.prepared_job import PreparedJob


def begin(
    work: PreparedJob, ledger: Ledger, overrides: Sequence[str] = (), *, new: bool = False
) -> Job:
    """The bookmark to go on from: the one in the ledger, or a new one.

    An ended job starts over: every step asks first, so that what is true already stays as it is.
    One that was beaten by another of its matrix stays beaten.

    Args:
        work: Free of problems.
        ledger: Where the bookmark may be.
        overrides: Those that ``work`` was loaded with, for a later resume.
        new: Give the tuned model an id of its own in place of the content's.
    """
    job = _job(work, overrides, new=new)
    known = ledger.find(job.where, job.tuned_model)
    if known is None:
        return job
    if known.phase is Phase.NOT_SELECTED:
        return known
    has_ended = known.phase.is_end
    is_other = known.content != job.content  # under an id of one's own; the flow asks what is there
    return replace(
        known,
        name=job.name,
        label="",
        best_of=0,
        target=job.target,
        spec=job.spec or known.spec,
        overrides=job.overrides if job.spec else known.overrides,
        phase=Phase.SUBMIT if is_other else rewound(known.phase),
        force=known.force and not has_ended and not is_other,
        error="",
    )


def _job(work: PreparedJob, overrides: Sequence[str], *, new: bool) -> Job:
    wanted = names.content_id(work.spec.job, secrets.token_hex(5)) if new else None
    return Job(
        name=work.spec.job,
        target=work.spec.target,
        tuned_model=names.tuned_model(wanted or new_tuned_model(work).id),
        content=content_id(work),
        spec=str(work.spec.path.absolute()) if work.is_on_disk else "",
        overrides=tuple(overrides),
    )


def unchanged(job: Job, work: PreparedJob) -> Job:
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
    if job.phase is Phase.NOT_SELECTED:
        return job
    force = job.force and not job.phase.is_end
    return replace(job, phase=rewound(job.phase), force=force, error="")


async def follow_all(
    pairs: Sequence[tuple[Job, PreparedJob]], ledger: Ledger, tell: EventHandler, pace: Pace
) -> list[Outcome]:
    """Follow jobs side by side, to their ends or to ``pace.until``; one's failure stops no other."""
    async with Session(ledger, tell, pace) as session:
        return await asyncio.gather(*(session.follow(job, work) for job, work in pairs))


async def watch_all(
    jobs: Sequence[Job], ledger: Ledger, tell: EventHandler, pace: Pace, *, cancel: bool = False
) -> list[Outcome]:
    """Watch tunings to their ends, after asking for that end where ``cancel`` is set."""
    async with Session(ledger, tell, pace) as session:
        return await asyncio.gather(*(session.watch(job, cancel=cancel) for job in jobs))
