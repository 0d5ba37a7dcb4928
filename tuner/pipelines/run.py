"""Runs a pipeline: its jobs in order, a limited number at a time, and the best variants selected.

Each stage is an ordinary job with its own record in the store. What the store knows about the pipeline
itself may be lost: it is derived again from the file and the service.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from tuner.errors import InvalidInput, NotFinished, Problem, TunerError, Unavailable
from tuner.events.events import Event, EventKind
from tuner.job import Job
from tuner.jobs import pipeline_store
from tuner.jobs.lock import PIPELINE, RETRY_S
from tuner.jobs.outcome import Outcome
from tuner.jobs.pipeline_store import Member, Origin
from tuner.jobs.runner import Runner, find_or_create_job, reached, run_together, wait_for_all
from tuner.jobs.target_pool import Slots
from tuner.jobspec.prepared_job import with_source
from tuner.pipelines import model as words
from tuner.pipelines import select
from tuner.pipelines.model import PipelineOutcome
from tuner.pipelines.select import Candidate, Choice, StageState, model_key
from tuner.types import Phase, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.events.events import EventHandler
    from tuner.jobs.runner import Timing
    from tuner.jobs.store import Store
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.model import Grouping, Pipeline, Stage
    from tuner.types import TunedModel

RETRIED = (Phase.FAILED, Phase.CANCELLED)
"""The phases that ``tuner retry`` tunes again."""
_PASSED = (Phase.SHARE, Phase.TRANSFER, Phase.DONE)
_UNDER_WAY_FIRST = -1


class RunOptions(NamedTuple):
    """How pipelines are run.

    Attributes:
        retry: Tune only the failed and cancelled stages again.
        force: Share models that miss their gate.
    """

    retry: bool = False
    force: bool = False


class GroupingEnd(NamedTuple):
    """How a grouping ended.

    Attributes:
        why: Why the jobs after it cannot start; empty if they can.
        waits: Whether a later run may still finish it.
    """

    why: str = ""
    waits: bool = False


_GOOD = GroupingEnd()


async def run_all(  # noqa: PLR0913, PLR0917 -- what to run, where it is stored, and how
    jobs: Sequence[tuple[Job, PreparedJob]],
    pipelines: Sequence[Pipeline],
    store: Store,
    options: RunOptions,
    emit: EventHandler,
    timing: Timing,
) -> list[Outcome | PipelineOutcome]:
    """Run jobs and pipelines concurrently until they end; return the outcomes of the jobs first.

    ``options`` apply to the pipelines; jobs have their own.

    Raises:
        TunerError: A pipeline cannot be started: see ``run_pipeline``.
    """
    async with Runner(store, emit, timing) as session:
        running = [
            run_pipeline(each, session, retry=options.retry, force=options.force)
            for each in pipelines
        ]
        return await asyncio.gather(*(session.follow(*pair) for pair in jobs), *running)


async def run_pipeline(
    pipeline: Pipeline, session: Runner, *, retry: bool = False, force: bool = False
) -> PipelineOutcome:
    """Run every job of a pipeline until it ends; steps that are done are not repeated.

    Args:
        pipeline: A pipeline without problems.
        session: An open runner.
        retry: Tune only the failed and cancelled stages again.
        force: Share models that miss their gate.

    Raises:
        InvalidInput: The session is to stop before its jobs end.
        NotFinished: Another process runs the pipeline, and the deadline passed.
        TunerError: The store cannot be used, or a target cannot be read.
    """
    if session.timing.until is not None:
        what = "a pipeline cannot be detached: this process starts its later jobs"
        fix = "run it without --detach; after Ctrl-C the same command continues it"
        raise InvalidInput([Problem(str(pipeline.path), 0, 0, what, fix)])
    await _acquire(pipeline, session)
    models = await _read_models(pipeline, session)
    run = _Run(pipeline, session, RunOptions(retry, force), models)
    run.store_stages()
    await run.run_groupings()
    return run.outcome()


async def _acquire(pipeline: Pipeline, session: Runner) -> None:
    """Wait until no other process runs this pipeline: two would exceed ``max_parallel``."""
    timing, is_reported = session.timing, False
    while not session.locks.acquire(PIPELINE, pipeline.id):
        holder = session.store.holder(PIPELINE, pipeline.id) or "another process"
        if not is_reported:
            target = pipeline.stages[0].work.spec.target
            whole = Job(pipeline.name, target, "", "", str(pipeline.path))
            session.emit(Event(EventKind.WATCHING, whole, holder=str(holder)))
            is_reported = True
        if timing.deadline is not None and timing.now() >= timing.deadline:
            what = f"{pipeline.name} is not finished: {holder} runs it"
            raise NotFinished(what, f"`tuner status {pipeline.name}` shows its progress")
        await timing.sleep(RETRY_S)
    session.store.save_holder(PIPELINE, pipeline.id)


async def _read_models(pipeline: Pipeline, session: Runner) -> dict[str, TunedModel]:
    """Return all tuned models on the pipeline's targets, by ``model_key``; one listing per target."""
    targets = (stage.work.spec.target for stage in pipeline.stages)
    configs = {target.where: target for target in targets}
    listings = await asyncio.gather(
        *(
            select.call(session, each, lambda target: target.tuned_models())
            for each in configs.values()
        )
    )
    pairs = zip(configs, listings, strict=True)
    return {f"{where} {model.name}": model for where, listing in pairs for model in listing}


class _Run:
    """One run of a pipeline: the state of its stages so far.

    Attributes:
        states: The stages whose source is known, as they were found.
        outcomes: The stages that this run started or watched.
        marks: States of stages that cannot be derived from their jobs.
        winners: The selected stage by grouping.
        unwatched: A stage that may be tuning although this run stopped following it.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        session: Runner,
        options: RunOptions,
        models: Mapping[str, TunedModel],
    ) -> None:
        self.pipeline, self.session, self.options, self.models = pipeline, session, options, models
        self.id, self.store = pipeline.id, session.store  # the ID costs a digest per stage
        self.stages = {stage.name: stage for stage in pipeline.stages}
        self.groupings = {grouping.name: grouping for grouping in pipeline.groupings}
        self.states: dict[str, StageState] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.marks: dict[str, str] = {}
        self.winners: dict[str, str] = {}
        self.errors: list[TunerError] = []
        self.has_failed = False
        self.unwatched = ""
        self._order = {name: number for number, name in enumerate(self.stages)}
        self._slots = Slots(pipeline.max_parallel)
        self._under_way: dict[str, asyncio.Task[Outcome]] = {}
        self._ends: dict[str, asyncio.Task[GroupingEnd]] = {}

    def store_stages(self) -> None:
        """Store the stages before anything is changed at the service."""
        self.states = {s.name: self._state(s) for s in self.pipeline.stages if not s.source}
        unknown = {n: Member(n, "", "", Origin.MADE) for n in self.stages if n not in self.states}
        known = {name: each.member for name, each in self.states.items()}
        members = unknown | known
        made, file = self.pipeline, str(self.pipeline.path.absolute())
        ordered = [members[name] for name in self.stages]
        pipeline_store.save_pipeline(self.store, self.id, made.name, file, made.overrides, ordered)
        for name, member in pipeline_store.members(self.store, self.id).items():
            if name in self.states:
                self.states[name] = self.states[name]._replace(member=member)
        found = self.states.values()
        self.has_failed = not self.options.retry and any(each.has_failed for each in found)

    async def run_groupings(self) -> None:
        """Run each grouping after those it depends on; follow running tunings from the start."""
        for stage in self.pipeline.stages:
            state = self.states.get(stage.name) or self._running_state(stage)
            if state and state.is_tuning:
                task = asyncio.create_task(self._follow_running(state))
                self._under_way[model_key(state.job)] = task
        for grouping in self.pipeline.groupings:
            self._ends[grouping.name] = asyncio.create_task(self._run_grouping(grouping))
        await wait_for_all([*self._ends.values(), *self._under_way.values()])

    def outcome(self) -> PipelineOutcome:
        """Return the outcome, in the order of the file."""
        outcomes = {name: self.outcomes[name] for name in self.stages if name in self.outcomes}
        states = {
            name: self.marks.get(name, "").upper()
            or (outcomes[name].job.phase.value if name in outcomes else "WAITING")
            for name in self.stages
        }
        return PipelineOutcome(self.pipeline, outcomes, states, self.winners, tuple(self.errors))

    # -- groupings ----------------------------------------------------------------------------------

    async def _run_grouping(self, grouping: Grouping) -> GroupingEnd:
        before = [await self._ends[name] for name in self.stages[grouping.stages[0]].after]
        end = min((each for each in before if each.why), key=lambda each: each.waits, default=_GOOD)
        if end.waits:
            return GroupingEnd(f"{grouping.name} waits", waits=True)
        if end.why:
            for name in grouping.stages:
                self._skip(self.stages[name], end.why)
            return GroupingEnd(f"{grouping.name} was skipped")
        try:
            return await self._run_stages(grouping)
        except TunerError as error:
            self.errors.append(error)
            return GroupingEnd(f"{grouping.name} is not finished", waits=True)

    async def _run_stages(self, grouping: Grouping) -> GroupingEnd:
        names = grouping.stages
        for name in names:
            self._fill_in_source(self.stages[name])
        if grouping.keep == "best":
            await self._skip_deleted(grouping)
        await run_together([self._run_stage(self.stages[name]) for name in names])
        if words.SKIPPED in [self.marks.get(name) for name in names]:
            return GroupingEnd(f"stages of {grouping.name} were skipped")
        if not all(name in self.outcomes and not self.outcomes[name].error for name in names):
            return GroupingEnd(f"{grouping.name} is not finished", waits=True)
        if grouping.keep == "best":
            return await self._share_best(grouping)
        is_good = all(self.outcomes[name].job.phase is Phase.DONE for name in names)
        return _GOOD if is_good else GroupingEnd(f"{grouping.name} did not succeed")

    async def _skip_deleted(self, grouping: Grouping) -> None:
        """Mark stages whose model was not selected and then deleted, so that they are not tuned again."""
        choice = Choice(self.id, grouping, self.states, self.session)
        selected = await select.selected_before_loss(choice)
        for name in grouping.stages:
            state = self.states[name]
            if state.was_deleted or (selected and selected != name and state.model is None):
                job = replace(state.job, phase=Phase.NOT_SELECTED, error="")
                self.session.store.save(job)
                self.states[name] = state._replace(job=job, known=job)
                self.outcomes[name] = Outcome(job)
                self._mark({name: words.DELETED})

    async def _share_best(self, grouping: Grouping) -> GroupingEnd:
        """Select one variant, and share only this one."""
        ended = {name: self.outcomes[name].job for name in grouping.stages}
        candidates = [
            Candidate(name, job, self.states[name].work)
            for name, job in ended.items()
            if job.phase in _PASSED
        ]
        if not candidates:
            return GroupingEnd(f"no variant of {grouping.name} can be selected")
        out = {name: job for name, job in ended.items() if job.phase is Phase.NOT_SELECTED}
        self._mark({name: words.NOT_SELECTED for name in out if name not in self.marks})
        choice = Choice(self.id, grouping, self.states, self.session)
        chosen = await select.select(choice, candidates, list(out.values()))
        self.winners[grouping.name] = chosen.stage
        others = [each for each in candidates if each is not chosen]
        jobs = {each.stage: select.not_selected(each, self.states[each.stage]) for each in others}
        for name, job in jobs.items():
            self.session.store.save(job)
            self.outcomes[name] = Outcome(job)
        self._mark(dict.fromkeys(jobs, words.NOT_SELECTED))
        await select.report(chosen, others, jobs, self.session)
        best = replace(chosen.job, best_of=len(grouping.stages))
        await self._follow(chosen.stage, best, None)
        if self.outcomes[chosen.stage].job.phase is not Phase.DONE:
            return GroupingEnd(f"{grouping.name} is not finished", waits=True)
        self._mark({chosen.stage: words.SELECTED})
        for name in grouping.stages if grouping.losers == "delete" else ():
            if self.marks.get(name) == words.NOT_SELECTED:
                job, member = self.outcomes[name].job, self.states[name].member
                if await select.delete_model(job, member, self.id, self.session):
                    self._mark({name: words.DELETED})
        return _GOOD

    # -- stages -------------------------------------------------------------------------------------

    async def _run_stage(self, stage: Stage) -> None:
        """Run a stage until it ends, or until the best variant must be selected."""
        if stage.name in self.outcomes:
            return
        state = self.states[stage.name]
        job = state.job
        if not reached(job.phase, Phase.EVALUATE):
            followed = await self._tune(stage, state)
            if followed is None:
                return
            self._record(stage.name, followed)
            if followed.error or followed.job.phase.is_end:
                return
            job = followed.job
        is_best = self.groupings[stage.grouping].keep == "best"
        await self._follow(stage.name, job, Phase.SHARE if is_best else None)

    async def _tune(self, stage: Stage, state: StageState) -> Outcome | None:
        """Tune a stage when there is a free slot; None if it may no longer start then."""
        if model_key(state.job) in self._under_way:
            return await self._under_way[model_key(state.job)]
        async with self._slots.one(self._order[stage.name]):
            obstacle = self._obstacle(state)
            if obstacle.why and not obstacle.waits:
                self._skip(stage, obstacle.why)
            if obstacle.why:
                return None
            return await self._follow_until(state, state.job, Phase.EVALUATE)

    def _obstacle(self, state: StageState) -> GroupingEnd:
        """Why a stage may not start now."""
        timing = self.session.timing
        if self.pipeline.fail_fast and self.has_failed and state.model is None:
            return GroupingEnd("another job has failed, and fail_fast is set")
        if timing.deadline is not None and timing.now() >= timing.deadline:
            return GroupingEnd("the timeout has passed", waits=True)
        if self.unwatched and self.pipeline.max_parallel:
            return GroupingEnd(f"{self.unwatched} may still be tuning", waits=True)
        return _GOOD

    async def _follow(self, name: str, job: Job, until: Phase | None) -> None:
        self._record(name, await self._follow_until(self.states[name], job, until))

    async def _follow_until(self, state: StageState, job: Job, until: Phase | None) -> Outcome:
        followed = await self.session.follow(job, state.work, until=until)
        error, is_tuning = followed.error, followed.job.phase is Phase.TUNE
        if isinstance(error, NotFinished | Unavailable) or (error and is_tuning):
            self.unwatched = state.member.stage
        return followed

    async def _follow_running(self, state: StageState) -> Outcome:
        async with self._slots.one(_UNDER_WAY_FIRST):
            return await self._follow_until(state, state.job, Phase.EVALUATE)

    def _record(self, name: str, followed: Outcome) -> None:
        self.outcomes[name] = followed
        job, error = followed.job, followed.error
        has_error = error is not None and not isinstance(error, NotFinished)
        was_cancelled = job.phase is Phase.CANCELLED and not job.stopping
        failed = has_error or was_cancelled or job.phase is Phase.FAILED
        self.has_failed = self.has_failed or failed

    def _skip(self, stage: Stage, why: str) -> None:
        state = self.states.get(stage.name) or self._state(stage)
        self.session.emit(Event(EventKind.SKIPPED, state.job, why=why))
        self._mark({stage.name: words.SKIPPED})

    def _mark(self, states: Mapping[str, str]) -> None:
        self.marks.update(states)
        pipeline_store.mark_members(self.store, self.id, states)

    # -- how a stage is found -----------------------------------------------------------------------

    def _fill_in_source(self, stage: Stage) -> None:
        """Find the state of a stage once the model it tunes further is known."""
        if not stage.source:
            return
        selected = self.winners.get(stage.source) or self.groupings[stage.source].stages[0]
        state = self._state(stage, self.outcomes[selected].job.tuned_model)
        pipeline_store.save_member(self.store, self.id, state.member)
        known = pipeline_store.members(
            self.store, self.id
        )  # empty if the store was deleted meanwhile
        self.states[stage.name] = state._replace(member=known.get(stage.name, state.member))

    def _running_state(self, stage: Stage) -> StageState | None:
        """Return a stage that an earlier run started, while its source is unknown in this run."""
        running = [each for each in self.models.values() if each.state is State.CREATING]
        sources = {each.tuned_model_source for each in running} - {""}
        states = (self._state(stage, source) for source in sources)
        return next((state for state in states if state.is_tuning), None)

    def _state(self, stage: Stage, source: str = "") -> StageState:
        """Return the state of a stage; ``source`` is the model it tunes further, if the spec has none."""
        work, store, options = with_source(stage.work, source), self.session.store, self.options
        is_best = self.groupings[stage.grouping].keep == "best"
        fresh = find_or_create_job(work, store)
        known = store.find(fresh.where, fresh.tuned_model)
        model = self.models.get(model_key(fresh))
        job = replace(
            fresh,
            name=stage.grouping,
            label=stage.label,
            spec=str(self.pipeline.path.absolute()),
            overrides=self.pipeline.overrides,
            force=options.force or fresh.force,
        )
        is_open = fresh.phase is Phase.NOT_SELECTED and not (is_best and model is None)
        if is_open or (options.force and job.phase is Phase.REJECTED):
            job = replace(job, phase=Phase.SUBMIT, error="")
        if options.retry and _failed_before(known, model):
            job = replace(job, phase=Phase.SUBMIT, error="", retry=True, attempt=job.attempt + 1)
        member = Member(stage.name, job.where, job.tuned_model, self._origin(job, known, model))
        return StageState(job, work, member, known, model)

    def _origin(self, job: Job, known: Job | None, model: TunedModel | None) -> Origin:
        if model is None:
            return Origin.MADE
        if known is None:
            return Origin.FOUND
        before = pipeline_store.origins(self.store, job.where, job.tuned_model)
        return before[0] if before else Origin.OWN


def _failed_before(known: Job | None, model: TunedModel | None) -> bool:
    """Whether a retry applies; False if one is in progress already."""
    if known is not None and known.retry:
        return False
    failed = model is not None and model.state is State.FAILED
    return failed or (known is not None and known.phase in RETRIED)
