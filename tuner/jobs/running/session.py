"""One process's work on many jobs: the ledger, the open targets and the pace, shared by all of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Self

from tuner.errors import RequestRefused, Superseded, TunerError, Unavailable
from tuner.events.events import Event, EventKind
from tuner.events.notify import Outbox
from tuner.events.progress import TokenMeter
from tuner.events.sending import send as really_send
from tuner.jobs.flow import look
from tuner.jobs.ledger import claims
from tuner.jobs.ledger.claims import Claim
from tuner.jobs.outcome import Outcome
from tuner.jobs.records.audit import Audit
from tuner.jobs.records.lock import keep
from tuner.jobs.records.log import Log
from tuner.jobs.running.books import Notes, Own, Seen
from tuner.jobs.running.changes import Changes
from tuner.jobs.running.leases import Leases, Times
from tuner.jobs.running.reach import Reach
from tuner.jobs.running.runner import PATIENCE_S, POLL_S, TUNING, Runner, as_left, left_s, reached
from tuner.jobs.sharing import listed
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tuner.events.events import EventHandler
    from tuner.events.notify import Send
    from tuner.job import Job
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.ledger.claims import Watch
    from tuner.jobs.running.reach import Place
    from tuner.jobs.running.runner import Pace
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.targets import Target
    from tuner.types import TargetConfig

    Step = Callable[[Job, Target, Place], Awaitable[Job]]

RESTARTS = 3
_TIMES = Times()


class Session:
    """What the jobs of one run share; opened once, as an async context manager.

    Every change is audited, and every event logged, in the folder ``logs`` beside the ledger.

    Attributes:
        ledger: Where the jobs are written down.
        pace: How time is spent; each job's target decides on its own part of it.
    """

    def __init__(
        self,
        ledger: Ledger,
        tell: EventHandler,
        pace: Pace,
        *,
        times: Times = _TIMES,
        send: Send = really_send,
    ) -> None:
        """Nothing is opened before it is needed.

        Args:
            ledger: Open.
            tell: Hears of everything, after the audit and the log.
            pace: How time is spent.
            times: How long another runner's lease lasts.
            send: Tells those whom a spec notifies.
        """
        self.ledger, self.pace = ledger, pace
        logs = ledger.store.path.parent / "logs"
        audit = Audit(logs / "audit.jsonl")
        self._listeners = (audit, Log(logs / "events.jsonl"), tell)
        self._reach = Reach(pace, audit.speaks_for)
        self._notes = Notes(ledger, pace.now)
        self.leases = Leases(ledger, pace.now, self._notes.flush, times)
        self._outbox = Outbox(ledger, self.tell, send, pace.sleep)
        self._changes = Changes()
        self._following: dict[tuple[str, str], asyncio.Lock] = {}

    def tell(self, event: Event) -> None:
        """EventHandler all who listen; the audit first, since what it cannot write is not done."""
        event = self._changes.seen(event)
        for listener in self._listeners:
            listener(event)

    async def __aenter__(self) -> Self:
        """Itself; what an earlier run could not tell is told now."""
        self._outbox.wake()
        return self

    async def __aexit__(self, *_: object) -> None:
        """EventHandler what is to be told, give back what was taken, and close what was opened."""
        try:
            await self._outbox.close()
        finally:
            with suppress(TunerError):  # progress may be lost
                self._notes.flush()
            await self.leases.close()
            await self._reach.close()

    async def follow(self, job: Job, work: PreparedJob, *, until: Phase | None = None) -> Outcome:
        """Advance a job to its end, or to a phase: ``until``, or the pace's; never raises TunerError.

        While another runner has the job this one watches, and goes on once that one is gone.
        Whoever follows a job that this session follows already waits, and goes on from there.
        """
        until = until or self.pace.until
        lock = self._following.setdefault((job.where, job.tuned_model), asyncio.Lock())
        waited = lock.locked()
        self._outbox.knows(job, work)
        async with lock:
            if waited:
                job = as_left(job, self._latest(job), until)
            if waited and (job.phase.is_end or reached(job.phase, until)):
                return Outcome(job)
            if job.phase.is_end:
                self.tell(Event(EventKind.ENDED, job, changed=False))
                return Outcome(job)
            outcome = await self._alone(job, work, until)
        if outcome.job.phase.is_end:
            self._outbox.wake()
            with suppress(TunerError):
                where = await self.target(job.target)
                await keep(outcome.job, work, where, outcome.permissions, self.tell)
        return outcome

    async def watch(self, job: Job, *, cancel: bool = False) -> Outcome:
        """Watch a tuning to its end, after asking for that end with ``cancel``; claims nothing."""

        async def step(job: Job, target: Target, _place: Place) -> Job:
            if cancel:
                await self._cancel(job, target)
            runner = Runner(self.ledger, self.tell, self._paced(job), Seen(self.ledger))
            return await runner.watch(job, target)

        return await self._outcome(job, step)

    async def target(self, config: TargetConfig) -> Target:
        """The target, open, asked no faster than its ``requests_per_second``.

        For reads, and for changes that belong to no job: those are not fenced.

        Raises:
            NotAllowed, Unavailable: As ``open_target``.
        """
        return (await self._reach.to(config)).guarded()

    # -- of two runners one acts ----------------------------------------------------------------

    async def _alone(self, job: Job, work: PreparedJob, until: Phase | None) -> Outcome:
        """Work on a job while this session has it, and look on while another runner has it."""
        watch = self.leases.watch()
        job = self._caught_up(job)
        while True:
            try:
                claim = await self.leases.begin(job, watch)
                if isinstance(claim, Claim):
                    if claim.former:
                        self.tell(Event(EventKind.TAKEN_OVER, job, holder=str(claim.former)))
                    return await self._work(job, work, until, claim)
                self.tell(Event(EventKind.WATCHING, job, holder=str(claim)))
                await self._look_on(job, until, watch)
            except Superseded:
                self.leases.lost(job)
            except TunerError as error:
                return Outcome(self._latest(job), error)
            job = as_left(job, self._latest(job), until)
            if job.phase.is_end or reached(job.phase, until):
                return await self._seen_off(job)

    async def _work(
        self, job: Job, work: PreparedJob, until: Phase | None, claim: Claim
    ) -> Outcome:
        """Advance a job that is ours. Raises Superseded."""
        allow = partial(claims.check, self.ledger.store, claim)
        book = Own(self.ledger, self.leases, self._notes, claim, work)
        async with AsyncExitStack() as slot:
            if job.phase in TUNING:
                order = 0 if job.operation else 1  # what is tuning already takes part of the target
                await slot.enter_async_context(self._reach.slots(job.target).one(order))
            pace = replace(self._paced(job, work.spec.timeout_s), until=until)

            async def step(job: Job, target: Target, place: Place) -> Job:
                meter = closing(TokenMeter(work, target, self.tell)) if pace.measures else None
                with meter or nullcontext(self.tell) as tell:
                    runner = Runner(self.ledger, tell, pace, book, place.follower.news, slot.aclose)
                    return await runner.follow(job, work, target)

            return await self._outcome(job, step, allow)

    async def _look_on(self, job: Job, until: Phase | None, watch: Watch) -> None:
        """Until the job's holder has brought it that far, has given it back, or is gone.

        Raises:
            NotFinished: The deadline passed.
        """
        pace, seen_at = self._paced(job), self.pace.now()
        while True:
            known = self._latest(job)
            holder = claims.holder(self.ledger.store, job.where, job.tuned_model)
            if known.phase.is_end or reached(known.phase, until):
                return
            if holder is None or watch.is_gone(holder):
                return
            if pace.now() - seen_at >= pace.poll_s:
                seen_at = pace.now()
                await self._glance(known)
            await pace.sleep(min(self.leases.times.look_s, left_s(pace, job)))

    async def _glance(self, job: Job) -> None:
        """EventHandler how far a tuning is; whoever works on it deals with what is wrong."""

        def tell(event: Event) -> None:
            if event.kind is EventKind.PROGRESS:
                self.tell(event)

        if job.phase is Phase.TUNE:
            with suppress(TunerError):
                await look(job, (await self._reach.to(job.target)).guarded(), tell)

    async def _seen_off(self, job: Job) -> Outcome:
        if job.phase.is_end:
            self.tell(Event(EventKind.ENDED, job, changed=True))
        with suppress(TunerError):
            if job.phase is Phase.DONE:
                return Outcome(job, permissions=await listed(job, await self.target(job.target)))
        return Outcome(job)

    def _caught_up(self, job: Job) -> Job:
        """With what another runner has found out since ``job`` was read."""
        known = self._latest(job)
        evaluation = job.evaluation or known.evaluation
        return replace(job, evaluation=evaluation, handed_to=job.handed_to or known.handed_to)

    def _latest(self, job: Job) -> Job:
        """As the ledger has it by now; when it has it no more, or cannot be used, as we wrote it last."""
        ours = self.leases.known(job) or job
        with suppress(TunerError):
            return self._notes.latest(job) or self.ledger.find(job.where, job.tuned_model) or ours
        return ours

    def _paced(self, job: Job, timeout_s: float | None = None) -> Pace:
        """The pace for one job: its target's, and its own timeout unless the command line has one."""
        deadline = self.pace.deadline
        if deadline is None and timeout_s is not None:
            deadline = self.pace.now() + timeout_s
        kind = job.target.kind
        return replace(
            self.pace, poll_s=POLL_S[kind], patience_s=PATIENCE_S[kind], deadline=deadline
        )

    async def _outcome(
        self, job: Job, step: Step, allow: Callable[[], None] | None = None
    ) -> Outcome:
        """Follow one job; a local service that died is started again, ``RESTARTS`` times at most.

        Raises:
            Superseded: Another runner took it over.
        """
        place = None
        for restarts_left in reversed(range(RESTARTS + 1)):
            try:
                place = await self._reach.to(job.target, gone=place)
                target = place.guarded(allow)
                job = await step(job, target, place)
            except Superseded:
                raise
            except TunerError as error:
                job = self._latest(job)
                is_away = isinstance(error, Unavailable) and error.is_passing
                if not (is_away and job.target.kind == "local" and restarts_left):
                    return Outcome(job, error)
            else:
                break
        if job.phase is not Phase.DONE:
            return Outcome(job)
        return Outcome(job, permissions=await listed(job, target))

    async def _cancel(self, job: Job, target: Target) -> None:
        if job.phase not in TUNING:
            raise RequestRefused(
                f"{job.title} is past its tuning ({job.phase.lower()}): there is nothing to cancel",
                f"`tuner models delete {job.tuned_model}` deletes the model",
            )
        running = [job.operation] if job.operation else []
        if not running:
            running = [each.name for each in await target.operations(job.tuned_model)]
        for operation in running:
            self.tell(
                Event(
                    EventKind.CHANGING,
                    job,
                    action="cancel",
                    what=job.tuned_model,
                    why="`tuner cancel`",
                )
            )
            await target.cancel(operation)
            self.tell(Event(EventKind.CANCELLING, job, why="`tuner cancel`"))
