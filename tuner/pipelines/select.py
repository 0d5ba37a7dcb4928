"""Selects the best variant of a matrix, once, and deletes the models that were not selected."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tuner.errors import NotAllowed, NotFound, RequestRefused, TunerError, Unavailable
from tuner.events.events import Event, EventKind
from tuner.jobs import lockfile, pipeline_store
from tuner.jobs.pipeline_store import Origin
from tuner.jobs.runner import PATIENCE_S
from tuner.types import Phase, Role, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tuner.job import Job
    from tuner.jobs.pipeline_store import Member
    from tuner.jobs.runner import Runner
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.model import Grouping
    from tuner.targets import Target
    from tuner.types import Permission, TargetConfig, TunedModel

T = TypeVar("T")

MAX_PARALLEL_READS = 16
RETRY_PAUSE_S = 1.0
_WHY_DELETED = "another variant of its matrix was selected, and losers: delete"


class StageState(NamedTuple):
    """A stage before it runs, as the store and the service know it."""

    job: Job
    work: PreparedJob
    member: Member
    known: Job | None
    model: TunedModel | None

    @property
    def is_tuning(self) -> bool:
        """Whether the service is tuning it already."""
        return self.model is not None and self.model.state is State.CREATING

    @property
    def has_failed(self) -> bool:
        """Whether its tuning failed; one that was stopped early did not fail."""
        was_stopped = self.known is not None and bool(self.known.stopping)
        return self.model is not None and self.model.state is State.FAILED and not was_stopped

    @property
    def was_deleted(self) -> bool:
        """Whether it was not selected and its model was deleted: it is not tuned again."""
        was_out = self.known is not None and self.known.phase is Phase.NOT_SELECTED
        return self.model is None and was_out


class Candidate(NamedTuple):
    """A stage that may be selected: it is tuned and evaluated, and passed its gate."""

    stage: str
    job: Job
    work: PreparedJob

    @property
    def score(self) -> float:
        """The tuned model's score on the held-out rows by its spec's metric; 0 if not evaluated."""
        scored = self.job.evaluation
        return scored.tuned[scored.metric] if scored else 0.0


# -- the decision, from data alone ------------------------------------------------------------------


def best(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the highest score, then the fewest steps, then the first in the file."""
    return min(candidates, key=lambda each: (-each.score, each.job.total_steps))


def shared_before(
    candidates: Sequence[Candidate], permissions: Mapping[str, Sequence[Permission]]
) -> Candidate | None:
    """Return the candidate that an earlier run selected, as ``permissions`` (by stage) show it.

    That is the only one owned by the address its spec transfers to; or, where nothing is
    transferred, the only one with permissions, if it has all that its spec asks for.
    """
    listed = [each for each in candidates if each.stage in permissions]
    transferred = [each for each in listed if each.work.spec.transfer_ownership]
    if transferred:
        owned = [
            each
            for each in transferred
            if owner_of(permissions[each.stage]) == each.work.spec.transfer_ownership.casefold()
        ]
        return owned[0] if len(owned) == 1 else None
    shared = [each for each in listed if len(permissions[each.stage]) > 1]
    if len(shared) != 1 or not shared[0].work.spec.grants:
        return None
    has = {each.grant.grantee: each.grant.role for each in permissions[shared[0].stage]}
    grants = shared[0].work.spec.grants
    is_complete = all(has.get(grant.grantee) in (grant.role, Role.OWNER) for grant in grants)
    return shared[0] if is_complete else None


def comparison_digest(jobs: Sequence[Job]) -> str:
    """Return the SHA-256, in hex, of the compared models and their evaluations."""
    pairs = ((model_key(job), job.evaluation.digest if job.evaluation else "") for job in jobs)
    return hashlib.sha256(json.dumps(sorted(pairs)).encode()).hexdigest()


def model_key(job: Job) -> str:
    """Return the key of a tuned model on its target: ``local tunedModels/ID``."""
    return f"{job.where} {job.tuned_model}"


# -- the decision of a run --------------------------------------------------------------------------


class Choice(NamedTuple):
    """The grouping, and its pipeline, in which a variant is selected."""

    pipeline: str
    grouping: Grouping
    states: Mapping[str, StageState]
    session: Runner


async def select(
    choice: Choice, candidates: Sequence[Candidate], ruled_out: Sequence[Job]
) -> Candidate:
    """Return the selected candidate: the stored one, the one selected elsewhere, or the best.

    ``ruled_out`` are the jobs that were not selected before. Raises TunerError.
    """
    pipeline, grouping, _, session = choice
    store = session.store
    digest = comparison_digest([*(each.job for each in candidates), *ruled_out])
    by_key = {model_key(each.job): each for each in candidates}
    decided = pipeline_store.decisions(store, pipeline, grouping.name)
    if decided.get(digest, "") in by_key:
        return by_key[decided[digest]]
    chosen = (
        _selected_and_unchanged(candidates, set(decided.values()), choice)
        or await _selected_elsewhere(candidates, choice)
        or best(candidates)
    )
    pipeline_store.save_decision(store, pipeline, grouping.name, digest, model_key(chosen.job))
    settled = pipeline_store.decisions(store, pipeline, grouping.name).get(digest, "")
    return by_key.get(settled, chosen)


async def selected_before_loss(choice: Choice) -> str:
    """Return the stage selected before the store was lost; empty if there is none.

    Some models of the grouping are missing and the store has no decision: then the selected one is
    the one with the permissions that only a selected model gets, or what ``tuner.lock`` says.
    """
    pipeline, grouping, states, session = choice
    found = [states[name] for name in grouping.stages]
    if grouping.losers != "delete" or all(each.model is not None for each in found):
        return ""
    if pipeline_store.decisions(session.store, pipeline, grouping.name):
        return ""
    candidates = [Candidate(each.member.stage, each.job, each.work) for each in found]
    selected = await _selected_elsewhere(candidates, choice)
    return selected.stage if selected else ""


def not_selected(candidate: Candidate, state: StageState) -> Job:
    """Return the job of a candidate that was not selected; a job of another file is unchanged."""
    job, known = candidate.job, state.known
    if state.member.origin is Origin.OWN and known is not None:
        ended = known if known.phase.is_end else job
        return replace(job, phase=ended.phase, error=ended.error)
    return replace(job, phase=Phase.NOT_SELECTED, error="")


async def report(
    chosen: Candidate, others: Sequence[Candidate], jobs: Mapping[str, Job], session: Runner
) -> None:
    """Send the events of a selection, and write those not selected into ``tuner.lock`` if possible.

    ``jobs`` are the jobs of ``others`` as they ended, by stage.
    """
    scored = chosen.job.evaluation
    metric = scored.metric if scored else ""
    session.emit(
        Event(EventKind.SELECTED, chosen.job, metric=metric, score=chosen.score, of=1 + len(others))
    )
    for each in others:
        session.emit(Event(EventKind.NOT_SELECTED, jobs[each.stage], winner=chosen.job.title))

    async def write(each: Candidate) -> None:
        with suppress(TunerError):
            job = jobs[each.stage]
            await lockfile.lock_job(job, each.work, session.read_model, (), session.emit)

    await asyncio.gather(*map(write, others))


async def delete_model(job: Job, member: Member, pipeline: str, session: Runner) -> bool:
    """Delete the model of a job that was not selected, unless it is in use.

    Returns whether the model is deleted.
    """

    async def delete(target: Target) -> bool:
        try:
            why_not = _needed_here(job, member, pipeline, session) or await _shared(job, target)
            if why_not:
                session.emit(Event(EventKind.DELETION_SKIPPED, job, why=why_not))
                return False
            session.emit(
                Event(
                    EventKind.CHANGING, job, action="delete", what=job.tuned_model, why=_WHY_DELETED
                )
            )
            await target.delete(job.tuned_model)
        except NotFound:
            return True
        session.emit(Event(EventKind.DELETED, job, why=_WHY_DELETED))
        return True

    return await call(session, job.target, delete)


async def call(
    session: Runner, config: TargetConfig, function: Callable[[Target], Awaitable[T]]
) -> T:
    """Call a target, and repeat the call while the target is unavailable. Raises TunerError."""
    timing = session.timing
    deadline = timing.now() + PATIENCE_S[config.kind]
    while True:
        try:
            return await function(await session.target(config))
        except Unavailable as error:
            pause_s = max(error.retry_after_s or 0.0, RETRY_PAUSE_S)
            if not error.is_passing or timing.now() + pause_s > deadline:
                raise
        await timing.sleep(pause_s)


def _selected_and_unchanged(
    candidates: Sequence[Candidate], selected: set[str], choice: Choice
) -> Candidate | None:
    """Return the candidate selected earlier, if its evaluation is unchanged."""
    for each in candidates:
        known = choice.states[each.stage].known
        if (
            known is None
            or known.phase is Phase.NOT_SELECTED
            or model_key(each.job) not in selected
        ):
            continue
        was = known.evaluation.digest if known.evaluation else ""
        if was == (each.job.evaluation.digest if each.job.evaluation else ""):
            return each
    return None


async def _selected_elsewhere(candidates: Sequence[Candidate], choice: Choice) -> Candidate | None:
    states, session = choice.states, choice.session
    explained = pipeline_store.selected_models(session.store)
    unknown = [
        each
        for each in candidates
        if states[each.stage].member.origin is not Origin.OWN
        and model_key(each.job) not in explained
    ]
    there = [each for each in unknown if states[each.stage].model is not None]
    shown = shared_before(there, await _permissions(there, session))
    if shown:
        return shown
    locked = _selected_in_lock_file(candidates)
    return locked if any(each is locked for each in unknown) else None


def _selected_in_lock_file(candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the candidate that ``tuner.lock`` has as done, if all others are not selected."""
    phases: list[Phase | None] = []
    for job in (each.job for each in candidates):
        phase = None
        with suppress(TunerError, ValueError):  # a damaged lock file is ignored
            entry = lockfile.entry(Path(job.spec), lockfile.stage_of(job)) or {}
            phase = Phase(entry["phase"]) if entry.get("tuned_model") == job.tuned_model else None
        phases.append(phase)
    if phases.count(Phase.DONE) != 1 or phases.count(Phase.NOT_SELECTED) != len(phases) - 1:
        return None
    return candidates[phases.index(Phase.DONE)]


async def _permissions(
    candidates: Sequence[Candidate], session: Runner
) -> dict[str, Sequence[Permission]]:
    slots = asyncio.Semaphore(MAX_PARALLEL_READS)

    async def listed(job: Job) -> Sequence[Permission]:
        async with slots:
            try:
                return await call(session, job.target, lambda to: to.permissions(job.tuned_model))
            except (NotAllowed, RequestRefused):
                return ()

    listings = await asyncio.gather(*(listed(each.job) for each in candidates))
    return dict(zip((each.stage for each in candidates), listings, strict=True))


def _needed_here(job: Job, member: Member, pipeline: str, session: Runner) -> str:
    if member.origin is not Origin.MADE:
        return "it existed before this pipeline"
    others = pipeline_store.other_pipelines(session.store, pipeline, member)
    if others:
        return f"it belongs to the pipeline {others[0]} as well"
    known = session.store.find(job.where, job.tuned_model)
    if known is not None and known.phase is not Phase.NOT_SELECTED:
        return "another job uses it"
    return ""


async def _shared(job: Job, target: Target) -> str:
    try:
        held = await target.permissions(job.tuned_model)
    except NotAllowed:
        return "who has access to it is hidden from you"
    return "others have access to it" if len(held) > 1 else ""


def owner_of(held: Sequence[Permission]) -> str:
    """Return the owner's e-mail address in lower case; empty if the service does not list it."""
    owners = [each.grant.email_address for each in held if each.grant.role is Role.OWNER]
    return owners[0].casefold() if owners else ""
