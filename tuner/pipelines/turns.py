"""One runner at a time works on a pipeline, or two of them would tune twice as many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import NotFinished
from tuner.events import events
from tuner.job import Job
from tuner.jobs.ledger import claims
from tuner.jobs.ledger.claims import Claim

if TYPE_CHECKING:
    from tuner.jobs.running.session import Session
    from tuner.pipelines.spec import Pipeline


async def have(pipeline: Pipeline, session: Session) -> None:
    """Return once this session has a pipeline: at once, or when another runner is done or gone.

    Raises:
        NotFinished: The deadline passed before that.
        TunerError: The ledger cannot be used.
    """
    leases, pace = session.leases, session.pace
    watch, store, is_told = leases.watch(), session.ledger.store, False
    while True:
        has = claims.take_pipeline(store, pipeline.id, leases.me, is_gone=watch.is_gone)
        if isinstance(has, Claim):
            return
        if not is_told:
            session.tell(events.Watching(_whole(pipeline), str(has)))
            is_told = True
        if pace.deadline is not None and pace.now() >= pace.deadline:
            what = f"{pipeline.name} is not finished: {has} works on it"
            raise NotFinished(what, f"`tuner status {pipeline.name}` shows how far it is")
        await pace.sleep(leases.times.look_s)


def _whole(pipeline: Pipeline) -> Job:
    """For people: a pipeline as if it were one job."""
    first = pipeline.stages[0].work
    return Job(pipeline.name, first.spec.target, "", "", str(pipeline.path))
