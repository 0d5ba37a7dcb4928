"""Running a pipeline: its jobs in the order asked for, so many at a time, and the best one kept.

Each stage is an ordinary job with a bookmark of its own. What the ledger knows of the pipeline
besides may be lost: it is made again from the file and from what the service shows.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tuner.errors import InvalidInput, NotFinished, Problem, Superseded, TunerError
from tuner.events import events
from tuner.jobs.ledger import pipelines
from tuner.jobs.outcome import Outcome
from tuner.jobs.running.runner import reached
from tuner.jobs.running.tasks import together, until_all_end
from tuner.pipelines import keeping, turns
from tuner.pipelines.begun import Manner, begun, patiently, read_world
from tuner.pipelines.losers import remove
from tuner.pipelines.outcome import PipelineOutcome
from tuner.pipelines.tunings import Tunings
from tuner.pipelines.winner import Candidate
from tuner.types import Phase, State

if TYPE_CHECKING:
    from tuner.job import Job
    from tuner.jobs.running.session import Session
    from tuner.pipelines.begun import Begun, World
    from tuner.pipelines.spec import Grouping, Pipeline, Stage


class End(NamedTuple):
    """How a grouping ended: ``why`` others cannot go on from it, empty when they can.

    ``waits`` says that a later run may finish it as it is.
    """

    why: str = ""
    waits: bool = False


GOOD = End()
PASSED = (Phase.SHARE, Phase.TRANSFER, Phase.DONE)


async def run_pipeline(
    pipeline: Pipeline, session: Session, *, retry: bool = False, force: bool = False
) -> PipelineOutcome:
    """Take every job of a pipeline to its end; what is done already stays as it is.

    Args:
        pipeline: Free of problems.
        session: Open.
        retry: Tune the failed and the cancelled again, and only those.
        force: Share although gates are not met.

    Raises:
        InvalidInput: The session is to leave its jobs to themselves.
        NotFinished: Another runner works on it, and the deadline passed.
        TunerError: The ledger cannot be used, or a target cannot be asked at all.
    """
    if session.pace.until is not None:
        what = "a pipeline cannot be left to itself: what comes later is begun from here"
        fix = "run it without --detach; after Ctrl-C the same command goes on"
        raise InvalidInput([Problem(str(pipeline.path), 0, 0, what, fix)])
    await turns.have(pipeline, session)
    run = _Run(pipeline, session, Manner(retry, force), await read_world(pipeline, session))
    run.write_down()
    await run.all_groupings()
    return run.outcome()


class _Run:
    """A pipeline on its way: what has become of its stages so far."""

    def __init__(self, pipeline: Pipeline, session: Session, asked: Manner, world: World) -> None:
        self.pipeline, self.session, self.asked, self.world = pipeline, session, asked, world
        self.id, self.store = pipeline.id, session.ledger.store  # the id is made of all stages
        self.stages = {stage.name: stage for stage in pipeline.stages}
        self.order = {name: number for number, name in enumerate(self.stages)}
        self.groupings = {grouping.name: grouping for grouping in pipeline.groupings}
        self.tunings = Tunings(session, pipeline.max_parallel)
        self.ends: dict[str, asyncio.Task[End]] = {}
        self.begun: dict[str, Begun] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.states: dict[str, str] = {}
        self.winners: dict[str, str] = {}
        self.errors: list[TunerError] = []
        self.has_failed = False

    def write_down(self) -> None:
        """What is meant, before anything is changed."""
        self.begun = {s.name: self._begin(s) for s in self.pipeline.stages if not s.source}
        unknown = {
            name: pipelines.Member(name, "", "", pipelines.Origin.MADE)
            for name in self.stages
            if name not in self.begun
        }
        known = {name: each.member for name, each in self.begun.items()}
        members = {**known, **unknown}
        pipelines.begin(self.store, self.pipeline, [members[name] for name in self.stages])
        for name, member in pipelines.members(self.store, self.id).items():
            if name in self.begun:
                self.begun[name] = self.begun[name]._replace(member=member)
        found = self.begun.values()
        self.has_failed = not self.asked.retry and any(each.has_failed for each in found)

    async def all_groupings(self) -> None:
        """Each as soon as those are ended that it comes after; what is tuning already is not left alone."""
        for stage in self.pipeline.stages:
            found = self.begun.get(stage.name) or self._under_way(stage)
            if found and found.is_tuning:
                self.tunings.go_on(found)
        for grouping in self.pipeline.groupings:
            self.ends[grouping.name] = asyncio.create_task(self._grouping(grouping))
        await until_all_end([*self.ends.values(), *self.tunings.under_way])

    def outcome(self) -> PipelineOutcome:
        """In the order of the file."""
        outcomes = {name: self.outcomes[name] for name in self.stages if name in self.outcomes}
        phases = {name: each.job.phase.value for name, each in outcomes.items()}
        words = {name: state.upper() for name, state in self.states.items()}
        states = {name: words.get(name) or phases.get(name, "WAITING") for name in self.stages}
        return PipelineOutcome(self.pipeline, outcomes, states, self.winners, tuple(self.errors))

    async def _grouping(self, grouping: Grouping) -> End:
        """Follow its stages, once those are ended that it comes after."""
        before = [await self.ends[name] for name in self.stages[grouping.stages[0]].after]
        end = min((each for each in before if each.why), key=lambda each: each.waits, default=GOOD)
        if end.waits:
            return End(f"{grouping.name} waits", waits=True)
        if end.why:
            for name in grouping.stages:
                self._skip(self.stages[name], end.why)
            return End(f"{grouping.name} was skipped")
        try:
            return await self._follow(grouping)
        except TunerError as error:
            self.errors.append(error)
            return End(f"{grouping.name} is not finished", waits=True)

    async def _follow(self, grouping: Grouping) -> End:
        for name in grouping.stages:
            self._settle(self.stages[name])
        if grouping.keep == "best":
            await self._leave_deleted(grouping)
        await together([self._stage(self.stages[name]) for name in grouping.stages])
        if "skipped" in [self.states.get(name) for name in grouping.stages]:
            return End(f"{grouping.name} is not whole")
        if not all(self._is_ended(name) for name in grouping.stages):
            return End(f"{grouping.name} is not finished", waits=True)
        if grouping.keep == "best":
            return await self._keep_best(grouping)
        ended = [self.outcomes[name].job.phase for name in grouping.stages]
        is_good = all(phase is Phase.DONE for phase in ended)
        return GOOD if is_good else End(f"{grouping.name} did not end well")

    def _is_ended(self, name: str) -> bool:
        """Whether a stage went as far as it goes by itself."""
        return name in self.outcomes and not self.outcomes[name].error

    async def _leave_deleted(self, grouping: Grouping) -> None:
        """What was beaten and deleted is not tuned again."""
        stood = await keeping.stood_before(grouping, self.begun, self.pipeline, self.session)
        for name in grouping.stages:
            each = self.begun[name]
            if each.was_deleted or (stood and stood != name and each.model is None):
                job = self.session.ledger.save(replace(each.job, phase=Phase.BEATEN, error=""))
                self.begun[name] = each._replace(job=job, known=job)
                self.outcomes[name] = Outcome(job)
                self._mark({name: "deleted"})

    def _settle(self, stage: Stage) -> None:
        """Which model a stage makes, once its source is known."""
        if not stage.source:
            return
        kept = self.winners.get(stage.source) or self.groupings[stage.source].stages[0]
        found = self._begin(stage, self.outcomes[kept].job.tuned_model)
        pipelines.know(self.store, self.id, found.member)
        known = pipelines.members(self.store, self.id)  # empty in a ledger begun anew
        member = known.get(stage.name, found.member)
        self.begun[stage.name] = found._replace(member=member)

    async def _stage(self, stage: Stage) -> None:
        """To its end, or to where it must be known which one is kept."""
        if stage.name in self.outcomes:
            return
        found = self.begun[stage.name]
        if not reached(found.job.phase, Phase.EVALUATE):
            may_begin = partial(self._may_begin, stage, found)
            followed = await self.tunings.tune(found, self.order[stage.name], may_begin)
            if followed is None:
                return
            self._note(stage, followed)
            if followed.error or followed.job.phase.is_end:
                return
            found = found._replace(job=followed.job)
        is_best = self.groupings[stage.grouping].keep == "best"
        await self._to(stage, found.job, Phase.SHARE if is_best else None)

    def _may_begin(self, stage: Stage, found: Begun) -> bool:
        why_not = self._why_not(found)
        if why_not.why and not why_not.waits:
            self._skip(stage, why_not.why)
        return not why_not.why

    def _why_not(self, found: Begun) -> End:
        """Why a stage is not begun now."""
        pace = self.session.pace
        if self.pipeline.fail_fast and self.has_failed and found.model is None:
            return End("another job has failed, and fail_fast is set")
        if pace.deadline is not None and pace.now() >= pace.deadline:
            return End("the time is up", waits=True)
        if self.tunings.unwatched and self.pipeline.max_parallel:
            return End(f"{self.tunings.unwatched} may still be tuning", waits=True)
        return GOOD

    async def _to(self, stage: Stage, job: Job, until: Phase | None) -> None:
        self._note(stage, await self.tunings.follow(self.begun[stage.name], job, until))

    def _under_way(self, stage: Stage) -> Begun | None:
        """A stage that a former run began, of a source that is not settled yet in this one."""
        running = [each for each in self.world.values() if each.state is State.CREATING]
        sources = {each.tuned_model_source for each in running}
        some = (self._begin(stage, source) for source in sources if source)
        return next((found for found in some if found.is_tuning), None)

    def _begin(self, stage: Stage, source: str = "") -> Begun:
        is_best = self.groupings[stage.grouping].keep == "best"
        where = (self.pipeline, self.session, self.world)
        return begun(stage, *where, self.asked, source=source, is_best=is_best)

    def _note(self, stage: Stage, followed: Outcome) -> None:
        self.outcomes[stage.name] = followed
        job, error = followed.job, followed.error
        stands = error is not None and not isinstance(error, NotFinished | Superseded)
        cancelled = job.phase is Phase.CANCELLED and not job.stopping
        self.has_failed = self.has_failed or stands or cancelled or job.phase is Phase.FAILED

    def _skip(self, stage: Stage, why: str) -> None:
        found = self.begun.get(stage.name) or self._begin(stage)
        self.session.tell(events.Skipped(found.job, why))
        self._mark({stage.name: "skipped"})

    def _mark(self, states: dict[str, str]) -> None:
        self.states.update(states)
        pipelines.mark(self.store, self.id, states)

    async def _keep_best(self, grouping: Grouping) -> End:
        """Share and hand over the best one alone."""
        ended = {name: self.outcomes[name] for name in grouping.stages}
        candidates = [
            Candidate(name, each.job, self.begun[name].work)
            for name, each in ended.items()
            if each.job.phase in PASSED
        ]
        if not candidates:
            return End(f"{grouping.name} has no winner")
        beaten = {name: each.job for name, each in ended.items() if each.job.phase is Phase.BEATEN}
        self._mark({name: "beaten" for name in beaten if name not in self.states})
        found = candidates, list(beaten.values())
        chosen = await keeping.choose(self.pipeline, grouping, found, self.begun, self.session)
        self.winners[grouping.name] = chosen.stage
        await self._beat([each for each in candidates if each is not chosen], chosen)
        best = replace(chosen.job, best_of=len(grouping.stages))
        await self._to(self.stages[chosen.stage], best, None)
        if self.outcomes[chosen.stage].job.phase is not Phase.DONE:
            return End(f"{grouping.name} is not finished", waits=True)
        self._mark({chosen.stage: "won"})
        if grouping.losers == "delete":
            await self._delete(grouping)
        return GOOD

    async def _beat(self, losers: list[Candidate], chosen: Candidate) -> None:
        jobs = {each.stage: keeping.beaten(each, self.begun[each.stage]) for each in losers}
        for job in jobs.values():
            self.session.ledger.save(job)
        self.outcomes.update({name: Outcome(job) for name, job in jobs.items()})
        self._mark(dict.fromkeys(jobs, "beaten"))
        keeping.tell_best(chosen, list(jobs.values()), self.session)
        await asyncio.gather(
            *(keeping.lock_beaten(jobs[each.stage], each.work, self.session) for each in losers)
        )

    async def _delete(self, grouping: Grouping) -> None:
        for name in grouping.stages:
            if self.states.get(name) == "beaten" and await self._remove(name):
                self._mark({name: "deleted"})

    async def _remove(self, name: str) -> bool:
        job, member, session = self.outcomes[name].job, self.begun[name].member, self.session
        return await patiently(
            session,
            job.target,
            lambda target: remove(job, member, self.id, target, session),
        )
