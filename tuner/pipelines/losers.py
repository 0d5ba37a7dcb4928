"""Deleting what another of its matrix has beaten: only what this pipeline made and nobody else has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import NotAllowed, NotFound
from tuner.events import effects
from tuner.jobs.ledger import pipelines
from tuner.types import Phase

if TYPE_CHECKING:
    from tuner.job import Job
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.ledger.pipelines import Member
    from tuner.jobs.running.session import Session
    from tuner.targets import Target

WHY = "another of its matrix is better, and losers: delete"


async def remove(job: Job, member: Member, pipeline: str, target: Target, session: Session) -> bool:
    """Delete a beaten job's model, unless it may be of use to anybody; whether it is gone.

    Raises:
        NotAllowed, RequestRefused, Unavailable: The service refuses or is away; asked again later
            this goes on.
    """
    try:
        why = _claimed(job, member, pipeline, session.ledger) or await _shared(job, target)
        if why:
            session.tell(effects.Spared(job, why))
            return False
        session.tell(effects.Changing(job, "delete", job.tuned_model, WHY))
        await target.delete(job.tuned_model)
    except NotFound:
        return True
    session.tell(effects.Deleted(job, WHY))
    return True


def _claimed(job: Job, member: Member, pipeline: str, ledger: Ledger) -> str:
    """What the ledger has against it."""
    if member.origin is not pipelines.Origin.MADE:
        return "it was there before this pipeline"
    others = pipelines.others(ledger.store, pipeline, member)
    if others:
        return f"it belongs to the pipeline {others[0]} as well"
    known = ledger.find(job.where, job.tuned_model)
    if known is not None and known.phase is not Phase.BEATEN:
        return "it is a job of its own"
    return ""


async def _shared(job: Job, target: Target) -> str:
    """What the service has against it."""
    try:
        held = await target.permissions(job.tuned_model)
    except NotAllowed:
        return "who has access to it is hidden from you"
    return "others have access to it" if len(held) > 1 else ""
