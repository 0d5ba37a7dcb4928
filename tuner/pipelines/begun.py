"""The stages of a pipeline as they are found: in the ledger, and at the service."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tuner.errors import Unavailable
from tuner.jobs.ledger.pipelines import Member, Origin, origins
from tuner.jobs.running.runner import PATIENCE_S
from tuner.jobs.running.start import begin
from tuner.jobspec.prepared_job import with_source
from tuner.pipelines.winner import key
from tuner.types import Phase, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tuner.job import Job
    from tuner.jobs.running.session import Session
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.spec import Pipeline, Stage
    from tuner.targets import Target
    from tuner.types import TargetConfig, TunedModel

T = TypeVar("T")
World = dict[str, "TunedModel"]
RETRIED = (Phase.FAILED, Phase.CANCELLED)
PAUSE_S = 1.0


class Begun(NamedTuple):
    """A stage that is about to be followed.

    Attributes:
        job: Its bookmark, to go on from.
        work: With its source in place.
        member: As the pipeline remembers it.
        known: The ledger's bookmark as it was found.
        model: The service's model as it was found.
    """

    job: Job
    work: PreparedJob
    member: Member
    known: Job | None
    model: TunedModel | None

    @property
    def is_tuning(self) -> bool:
        """Whether it takes part of the target already."""
        return self.model is not None and self.model.state is State.CREATING

    @property
    def has_failed(self) -> bool:
        """Whether its tuning failed, which nobody had asked for."""
        stopped = self.known is not None and bool(self.known.stopping)
        return self.model is not None and self.model.state is State.FAILED and not stopped

    @property
    def was_deleted(self) -> bool:
        """Whether it was beaten and its model is gone: it is not tuned again."""
        return self.model is None and self.known is not None and self.known.phase is Phase.BEATEN


class Manner(NamedTuple):
    """How a pipeline is to be run: see ``run_pipeline``."""

    retry: bool = False
    force: bool = False


async def read_world(pipeline: Pipeline, session: Session) -> World:
    """Every tuned model at the pipeline's targets, by ``winner.key``, in one listing a target."""
    configs = {
        target.where: target for target in (stage.work.spec.target for stage in pipeline.stages)
    }
    listings = await asyncio.gather(
        *(
            patiently(session, config, lambda target: target.tuned_models())
            for config in configs.values()
        )
    )
    return {
        f"{place} {model.name}": model
        for place, listing in zip(configs, listings, strict=True)
        for model in listing
    }


async def patiently(
    session: Session, config: TargetConfig, call: Callable[[Target], Awaitable[T]]
) -> T:
    """What a call that may be repeated gives, tried again while the target is away.

    Raises:
        NotAllowed, RequestRefused, Unavailable: The service refuses, or is away for too long.
    """
    pace = session.pace
    gives_up = pace.now() + PATIENCE_S[config.kind]
    while True:
        try:
            return await call(await session.target(config))
        except Unavailable as error:
            pause_s = max(error.retry_after_s or 0.0, PAUSE_S)
            if not error.is_passing or pace.now() + pause_s > gives_up:
                raise
        await pace.sleep(pause_s)


def begun(  # noqa: PLR0913 -- what a stage is, and how it was found
    stage: Stage,
    pipeline: Pipeline,
    session: Session,
    world: Mapping[str, TunedModel],
    asked: Manner,
    *,
    source: str = "",
    is_best: bool = False,
) -> Begun:
    """A stage's bookmark to go on from.

    ``source`` is the model that it tunes further, where its work leaves that open; ``is_best`` says
    that only one of its grouping is kept, so that it must not be handed over before that is known.
    """
    work = with_source(stage.work, source)
    fresh = begin(work, session.ledger)
    known = session.ledger.find(fresh.where, fresh.tuned_model)
    model = world.get(key(fresh))
    job = replace(
        fresh,
        name=stage.grouping,
        label=stage.label,
        spec=str(pipeline.path.absolute()),
        overrides=pipeline.overrides,
        force=asked.force or fresh.force,
    )
    if fresh.phase is Phase.BEATEN and not (is_best and model is None):
        job = replace(job, phase=Phase.SUBMIT, error="")
    if asked.force and job.phase is Phase.REJECTED:
        job = replace(job, phase=Phase.SUBMIT, error="")
    if asked.retry and _has_ended_badly(known, model):
        job = replace(job, phase=Phase.SUBMIT, error="", retry=True, attempt=job.attempt + 1)
    origin = _origin(job, known, model, session)
    return Begun(job, work, Member(stage.name, job.where, job.tuned_model, origin), known, model)


def _has_ended_badly(known: Job | None, model: TunedModel | None) -> bool:
    if known is not None and known.retry:
        return False  # it is being tried again
    failed = model is not None and model.state is State.FAILED
    return failed or (known is not None and known.phase in RETRIED)


def _origin(job: Job, known: Job | None, model: TunedModel | None, session: Session) -> Origin:
    if model is None:
        return Origin.MADE
    if known is None:
        return Origin.FOUND
    before = origins(session.ledger.store, job.where, job.tuned_model)
    return before[0] if before else Origin.OWN
