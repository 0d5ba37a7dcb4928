"""The loop around the flow: it waits, retries, keeps the ledger, and follows many jobs at once."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from contextlib import AsyncExitStack, closing, nullcontext, suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, Self

from tuner import names
from tuner.errors import (
    InvalidInput,
    NotFinished,
    Problem,
    RequestRefused,
    Superseded,
    TunerError,
    Unavailable,
)
from tuner.events.events import Event, EventKind
from tuner.events.notify import Outbox, notifications
from tuner.events.notify import send as send_notification
from tuner.events.progress import TokenMeter
from tuner.job import Job, rewound
from tuner.jobs import lock
from tuner.jobs.audit_log import AuditLog, EventLog
from tuner.jobs.lock import Claim, Leases, Times
from tuner.jobs.lockfile import lock_job
from tuner.jobs.outcome import Outcome
from tuner.jobs.poller import POLL_S
from tuner.jobs.sharing import listed
from tuner.jobs.state_machine import advance, poll
from tuner.jobs.target_pool import TargetPool
from tuner.jobspec.prepared_job import content_id, new_tuned_model
from tuner.targets.retry import jittered
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tuner.events.events import EventHandler
    from tuner.jobs.store import Store
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.targets import Target

    Step = Callable[[Job], Awaitable[Job]]
    from collections.abc import Awaitable, Callable

    from tuner.events.notify import Send
    from tuner.jobs.lock import Watch
    from tuner.jobs.target_pool import OpenTarget
    from tuner.types import TargetConfig

    RunnerStep = Callable[[Job, Target, OpenTarget], Awaitable[Job]]
    from collections.abc import Callable, Collection, Coroutine, Sequence


PATIENCE_S = {"local": 5.0, "gemini": 300.0}
LONGEST_WAIT_S = 30.0
LONGEST_QUOTA_WAIT_S = 60.0
TUNING = (Phase.SUBMIT, Phase.TUNE)


@dataclass(frozen=True, slots=True)
class Timing:
    """How the runner spends time; tests pass a clock of their own.

    Attributes:
        poll_s: Seconds between two looks at a running operation, give or take a fifth.
        patience_s: How long a target may be away before the run gives up.
        deadline: When to stop waiting, on ``now``'s scale; None never.
        until: The run ends, quietly, before the first step of this phase, or of a later one.
        measures: Whether the service is asked how many tokens a step takes, for a live view.
    """

    poll_s: float = 1.0
    patience_s: float = 300.0
    deadline: float | None = None
    until: Phase | None = None
    measures: bool = False
    now: Callable[[], float] = field(default=time.monotonic)
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep)


def reached(phase: Phase, until: Phase | None) -> bool:
    """Whether a job at ``phase`` has come as far as ``until``; None is never reached."""
    order = list(Phase)
    return until is not None and order.index(phase) >= order.index(until)


def resume_from(job: Job, known: Job, until: Phase | None) -> Job:
    """``known``, as somebody else left it, for ``job`` to go on with.

    Whoever followed it for another spec did not poll at this one's gate, nor give what this one
    asks for: what they ended is begun anew, which finds done whatever is done.
    """
    is_same = (job.spec, job.overrides, job.label) == (known.spec, known.overrides, known.label)
    if is_same or (reached(known.phase, until) and not known.phase.is_end):
        return known
    own = replace(known, name=job.name, spec=job.spec, overrides=job.overrides, label=job.label)
    return replace(own, phase=rewound(known.phase), force=job.force, error="")


class Book(Protocol):
    """Where a job is written down as it goes on."""

    def begin(self, job: Job) -> None:
        """Write down what is about to be done, before anything is."""

    async def save(self, job: Job) -> None:
        """Write down what must survive a crash."""

    def note(self, job: Job) -> None:
        """Write down how far it is, soon; a crash may lose it, and the service is asked again."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A book of which nobody else writes: every step is saved at once."""

    ledger: Store

    def begin(self, job: Job) -> None:
        """Save it."""
        self.ledger.save(job)

    async def save(self, job: Job) -> None:
        """Save it."""
        self.ledger.save(job)

    def note(self, job: Job) -> None:
        """Save it too."""
        self.ledger.save(job)


@dataclass(frozen=True, slots=True)
class JobDriver:
    """Drives jobs; every step is in ``ledger`` before the next one is taken, and ``tell`` hears of it.

    Both methods raise NotFinished when ``pace.deadline`` passed, Unavailable when the target was
    away for ``pace.patience_s``, NotAllowed and RequestRefused when the service refuses. The ledger
    then keeps the job where it stands, and the tuning goes on.

    Attributes:
        ledger: Holds what models answered, and the jobs where ``book`` is left out.
        tell: Who hears of everything.
        pace: How time is spent.
        book: Where the jobs are written down.
        news: Comes back when there is something new of an operation, at the latest after so many
            seconds; without it the pace's own intervals are kept.
        tuned: Called once the job is past its tuning.
    """

    ledger: Store
    tell: EventHandler
    pace: Timing
    book: Book | None = None
    news: Callable[[str, float], Awaitable[None]] | None = None
    tuned: Callable[[], Awaitable[None]] | None = None

    async def follow(self, job: Job, work: PreparedJob, target: Target) -> Job:
        """Advance ``job`` to its end, or to ``pace.until``."""
        changed = False

        def note(event: Event) -> None:
            nonlocal changed
            changed = changed or event.is_change
            self.tell(event)

        job, answers = self.ledger.with_rows(job), self.ledger.answers(job.where)
        job = await self._drive(
            job, lambda job: advance(job, work, target, note, answers), self.pace.until
        )
        if job.phase.is_end:
            self.tell(Event(EventKind.ENDED, job, changed=changed))
        return job

    async def watch(self, job: Job, target: Target) -> Job:
        """Follow a tuning until it is finished, and change nothing."""
        return await self._drive(job, lambda job: poll(job, target, self.tell), Phase.EVALUATE)

    async def _drive(self, job: Job, step: Step, until: Phase | None) -> Job:
        book = self.book or Plain(self.ledger)
        book.begin(job)
        while not job.phase.is_end and not reached(job.phase, until):
            after = await self._patiently(job, step)
            if after != job and is_progress(job, after):
                book.note(after)
            elif after != job:
                await book.save(after)
            if self.tuned and after.phase not in TUNING:
                await self.tuned()
            if after.phase is job.phase and after.stopping == job.stopping:
                await self._wait(after)
            job = after
        return job

    async def _patiently(self, job: Job, step: Step) -> Job:
        """One step, tried again while the target is away: asking first makes that harmless."""
        gives_up = self.pace.now() + self.pace.patience_s
        wait_s = 1.0
        while True:
            try:
                return await step(job)
            except Unavailable as error:
                pause = max(error.retry_after_s or 0.0, jittered(wait_s))
                if not error.is_passing:
                    raise
                if error.is_quota:  # the service is well, and will do it when it has the time
                    remaining_seconds(self.pace, job)
                elif self.pace.now() + pause > gives_up:
                    raise
                self.tell(Event(EventKind.WAITING, job, reason=error.what, seconds=pause))
                await self.pace.sleep(pause)
                longest_s = LONGEST_QUOTA_WAIT_S if error.is_quota else LONGEST_WAIT_S
                wait_s = min(wait_s * 2, longest_s)

    async def _wait(self, job: Job) -> None:
        left = remaining_seconds(self.pace, job)
        if self.news is not None and job.operation:
            await self.news(job.operation, left)
        else:
            await self.pace.sleep(min(jittered(self.pace.poll_s), left))


def remaining_seconds(pace: Timing, job: Job) -> float:
    """Seconds until the deadline. Raises NotFinished when there are none left."""
    if pace.deadline is None:
        return math.inf
    left = pace.deadline - pace.now()
    if left <= 0:
        raise NotFinished(
            f"{job.title} is not finished: {job.completed_steps} of {job.total_steps} steps",
            f"the tuning goes on; `tuner resume {job.name}` follows it",
        )
    return left


def is_progress(before: Job, after: Job) -> bool:
    """Whether the service tells as much again for a few reads, should it be lost."""
    way = (before.phase, after.phase)
    if before.phase is not after.phase and way not in _ASKED_AGAIN:
        return False
    is_same = before.stopping == after.stopping or way == _TUNED
    return is_same and _lasting(before) == _lasting(after)


_TUNED = (Phase.TUNE, Phase.EVALUATE)
_ASKED_AGAIN = (_TUNED, (Phase.SHARE, Phase.TRANSFER))
_SEEN = {"phase", "operation", "total_steps", "completed_steps", "mean_loss", "stopping"}
_lasting = attrgetter(*(each.name for each in fields(Job) if each.name not in _SEEN))


RESTARTS = 3
_TIMES = Times()


class Runner:
    """What the jobs of one run share; opened once, as an async context manager.

    Every change is audited, and every event logged, in the folder ``logs`` beside the ledger.

    Attributes:
        ledger: Where the jobs are written down.
        pace: How time is spent; each job's target decides on its own part of it.
    """

    def __init__(
        self,
        ledger: Store,
        tell: EventHandler,
        pace: Timing,
        *,
        times: Times = _TIMES,
        send: Send = send_notification,
    ) -> None:
        """Nothing is opened before it is needed.

        Args:
            ledger: Open.
            tell: Hears of everything, after the audit and the log.
            pace: How time is spent.
            times: How long another runner's lease lasts.
            send: Tells those whom a spec notifies.
        """
        self.store, self.pace = ledger, pace
        logs = ledger.path.parent / "logs"
        audit = AuditLog(logs / "audit.jsonl")
        self._listeners = (audit, EventLog(logs / "events.jsonl"), tell)
        self._reach = TargetPool(pace, audit.set_credentials)
        self._notes = Notes(ledger, pace.now)
        self.leases = Leases(ledger, pace.now, self._notes.flush, times)
        self._outbox = Outbox(ledger, self.emit, send, pace.sleep)
        self._changes = Changes()
        self._following: dict[tuple[str, str], asyncio.Lock] = {}

    def emit(self, event: Event) -> None:
        """Tell all who listen; the audit first, since what it cannot write is not done."""
        event = self._changes.seen(event)
        for listener in self._listeners:
            listener(event)

    async def __aenter__(self) -> Self:
        """Itself; what an earlier run could not tell is told now."""
        self._outbox.wake()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Tell what is to be told, give back what was taken, and close what was opened."""
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
        async with lock:
            if waited:
                job = resume_from(job, self._latest(job), until)
            if waited and (job.phase.is_end or reached(job.phase, until)):
                return Outcome(job)
            if job.phase.is_end:
                self.emit(Event(EventKind.ENDED, job, changed=False))
                return Outcome(job)
            outcome = await self._alone(job, work, until)
        if outcome.job.phase.is_end:
            self._outbox.wake()
            with suppress(TunerError):
                where = await self.target(job.target)
                await lock_job(outcome.job, work, where, outcome.permissions, self.emit)
        return outcome

    async def watch(self, job: Job, *, cancel: bool = False) -> Outcome:
        """Watch a tuning to its end, after asking for that end with ``cancel``; claims nothing."""

        async def step(job: Job, target: Target, _place: OpenTarget) -> Job:
            if cancel:
                await self._cancel(job, target)
            runner = JobDriver(self.store, self.emit, self._paced(job), Seen(self.store))
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
        """Work on a job while this session has it, and poll on while another runner has it."""
        watch = self.leases.watch()
        job = self._caught_up(job)
        while True:
            try:
                claim = await self.leases.begin(job, watch)
                if isinstance(claim, Claim):
                    if claim.former:
                        self.emit(Event(EventKind.TAKEN_OVER, job, holder=str(claim.former)))
                    return await self._work(job, work, until, claim)
                self.emit(Event(EventKind.WATCHING, job, holder=str(claim)))
                await self._look_on(job, until, watch)
            except Superseded:
                self.leases.lost(job)
            except TunerError as error:
                return Outcome(self._latest(job), error)
            job = resume_from(job, self._latest(job), until)
            if job.phase.is_end or reached(job.phase, until):
                return await self._seen_off(job)

    async def _work(
        self, job: Job, work: PreparedJob, until: Phase | None, claim: Claim
    ) -> Outcome:
        """Advance a job that is ours. Raises Superseded."""
        allow = partial(lock.check, self.store, claim)
        book = Own(self.store, self.leases, self._notes, claim, work)
        async with AsyncExitStack() as slot:
            if job.phase in TUNING:
                order = 0 if job.operation else 1  # what is tuning already takes part of the target
                await slot.enter_async_context(self._reach.slots(job.target).one(order))
            pace = replace(self._paced(job, work.spec.timeout_s), until=until)

            async def step(job: Job, target: Target, place: OpenTarget) -> Job:
                meter = closing(TokenMeter(work, target, self.emit)) if pace.measures else None
                with meter or nullcontext(self.emit) as tell:
                    runner = JobDriver(
                        self.store, tell, pace, book, place.follower.news, slot.aclose
                    )
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
            holder = lock.holder(self.store, job.where, job.tuned_model)
            if known.phase.is_end or reached(known.phase, until):
                return
            if holder is None or watch.is_gone(holder):
                return
            if pace.now() - seen_at >= pace.poll_s:
                seen_at = pace.now()
                await self._glance(known)
            await pace.sleep(min(self.leases.times.look_s, remaining_seconds(pace, job)))

    async def _glance(self, job: Job) -> None:
        """Tell how far a tuning is; whoever works on it deals with what is wrong."""

        def tell(event: Event) -> None:
            if event.kind is EventKind.PROGRESS:
                self.emit(event)

        if job.phase is Phase.TUNE:
            with suppress(TunerError):
                await poll(job, (await self._reach.to(job.target)).guarded(), tell)

    async def _seen_off(self, job: Job) -> Outcome:
        if job.phase.is_end:
            self.emit(Event(EventKind.ENDED, job, changed=True))
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
            return self._notes.latest(job) or self.store.find(job.where, job.tuned_model) or ours
        return ours

    def _paced(self, job: Job, timeout_s: float | None = None) -> Timing:
        """The pace for one job: its target's, and its own timeout unless the command line has one."""
        deadline = self.pace.deadline
        if deadline is None and timeout_s is not None:
            deadline = self.pace.now() + timeout_s
        kind = job.target.kind
        return replace(
            self.pace, poll_s=POLL_S[kind], patience_s=PATIENCE_S[kind], deadline=deadline
        )

    async def _outcome(
        self, job: Job, step: RunnerStep, allow: Callable[[], None] | None = None
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
            self.emit(
                Event(
                    EventKind.CHANGING,
                    job,
                    action="cancel",
                    what=job.tuned_model,
                    why="`tuner cancel`",
                )
            )
            await target.cancel(operation)
            self.emit(Event(EventKind.CANCELLING, job, why="`tuner cancel`"))


def find_or_create_job(
    work: PreparedJob, ledger: Store, overrides: Sequence[str] = (), *, new: bool = False
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


def check_unchanged(job: Job, work: PreparedJob) -> Job:
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


async def run_jobs(
    pairs: Sequence[tuple[Job, PreparedJob]], ledger: Store, tell: EventHandler, pace: Timing
) -> list[Outcome]:
    """Follow jobs side by side, to their ends or to ``pace.until``; one's failure stops no other."""
    async with Runner(ledger, tell, pace) as session:
        return await asyncio.gather(*(session.follow(job, work) for job, work in pairs))


async def watch_jobs(
    jobs: Sequence[Job], ledger: Store, tell: EventHandler, pace: Timing, *, cancel: bool = False
) -> list[Outcome]:
    """Watch tunings to their ends, after asking for that end where ``cancel`` is set."""
    async with Runner(ledger, tell, pace) as session:
        return await asyncio.gather(*(session.watch(job, cancel=cancel) for job in jobs))


NOTE_S = 2.0


class Notes:
    """Jobs that moved since they were last written down, each once, every ``NOTE_S`` at most."""

    def __init__(self, ledger: Store, now: Callable[[], float]) -> None:
        """``now`` counts seconds and never goes back."""
        self._ledger, self._now = ledger, now
        self._moved: dict[tuple[str, str], tuple[Job, Claim | None]] = {}
        self._written_at = -math.inf

    def note(self, job: Job, claim: Claim | None) -> None:
        """Write it down at the next occasion, or now when the last one was long ago."""
        self._moved[job.where, job.tuned_model] = (job, claim)
        if self._now() - self._written_at >= NOTE_S:
            self.flush()

    def drop(self, job: Job) -> None:
        """It was written down otherwise."""
        self._moved.pop((job.where, job.tuned_model), None)

    def latest(self, job: Job) -> Job | None:
        """What is still to be written down of it; None when the ledger has it all."""
        found = self._moved.get((job.where, job.tuned_model))
        return found[0] if found else None

    def flush(self) -> None:
        """Write down what there is, in one transaction."""
        self._written_at = self._now()
        if self._moved:
            self._ledger.note(self._moved.values())
            self._moved.clear()


@dataclass(frozen=True, slots=True)
class Own:
    """A job that this session has claimed; all raise Superseded once another runner has it."""

    ledger: Store
    leases: Leases
    notes: Notes
    claim: Claim
    work: PreparedJob

    def begin(self, job: Job) -> None:
        """It was written down with its claim."""

    async def save(self, job: Job) -> None:
        """Write it down; its end together with whom to tell of it."""
        told = notifications(job, self.work.spec.notify) if job.phase.is_end else ()
        self.notes.drop(job)  # or else, written down right after this, it would go back
        await self.ledger.saved(job, claim=self.claim, notices=told)
        self.leases.wrote(job, self.claim)

    def note(self, job: Job) -> None:
        """Write it down soon."""
        self.notes.note(job, self.claim)
        self.leases.wrote(job, self.claim)


@dataclass(frozen=True, slots=True)
class Seen:
    """A job that is watched: written down unless somebody works on it, who knows more."""

    ledger: Store

    def begin(self, job: Job) -> None:
        """Nothing is new yet."""

    async def save(self, job: Job) -> None:
        """Write down what was seen."""
        self.ledger.note([(job, None)])

    def note(self, job: Job) -> None:
        """Write down what was seen."""
        self.ledger.note([(job, None)])


@dataclass(frozen=True, slots=True)
class Changes:
    """Remembers what was changed, and says it of every job that ends."""

    models: set[tuple[str, str]] = field(default_factory=set)

    def seen(self, event: Event) -> Event:
        """The event, to be told."""
        model = (event.job.where, event.job.tuned_model)
        if event.is_change:
            self.models.add(model)
        if event.kind is EventKind.ENDED and model in self.models:
            return Event(EventKind.ENDED, event.job, changed=True)
        return event


async def run_together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do all of this side by side, as ``wait_for_all``."""
    await wait_for_all([asyncio.create_task(work) for work in works])


async def wait_for_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait for all; when one is brought down, so are the others, and nothing is left running."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
