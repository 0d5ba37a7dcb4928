"""Run jobs: wait, retry, save every step to the store, and drive many jobs at once.

Only the process that holds a job's lock works on it; another run watches until the lock is free.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from contextlib import AsyncExitStack, closing, nullcontext, suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tuner import names
from tuner.errors import (
    InvalidInput,
    NotFinished,
    Problem,
    RequestRefused,
    TunerError,
    Unavailable,
)
from tuner.events.events import Event, EventKind
from tuner.events.notify import Outbox, notifications
from tuner.events.notify import send as send_notification
from tuner.events.progress import TokenMeter
from tuner.job import Job, restart_phase
from tuner.jobs.audit_log import AuditLog, EventLog
from tuner.jobs.lock import RETRY_S, JobLocks
from tuner.jobs.lockfile import lock_job
from tuner.jobs.outcome import Outcome
from tuner.jobs.poller import POLL_S
from tuner.jobs.sharing import final_permissions
from tuner.jobs.state_machine import advance, poll
from tuner.jobs.target_pool import TargetPool
from tuner.jobspec.prepared_job import content_id, new_tuned_model
from tuner.targets.retry import jittered
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence

    from tuner.events.events import EventHandler
    from tuner.events.notify import Send
    from tuner.jobs.store import Store
    from tuner.jobs.target_pool import OpenTarget
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.targets import Target
    from tuner.types import TargetConfig, TunedModel

    Step = Callable[[Job], Awaitable[Job]]

Result = TypeVar("Result")

PATIENCE_S = {"local": 5.0, "gemini": 300.0}
MAX_WAIT_S = 30.0
MAX_QUOTA_WAIT_S = 60.0
SAVE_PROGRESS_S = 2.0
MAX_RESTARTS = 3  # of a local service that ended unexpectedly
TUNING = (Phase.SUBMIT, Phase.TUNE)


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock, pauses and deadline of a run; tests pass their own clock.

    Attributes:
        poll_s: Seconds between two polls of an operation, plus or minus 20 %.
        patience_s: How long a target may be unavailable before the run fails.
        deadline: When to stop waiting, on the scale of ``now``; None for never.
        until: Stop, without an error, before the first step of this phase or of a later one.
        measures: Whether to count tokens per step, for the live view.
    """

    poll_s: float = 1.0
    patience_s: float = 300.0
    deadline: float | None = None
    until: Phase | None = None
    measures: bool = False
    now: Callable[[], float] = field(default=time.monotonic)
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep)


def reached(phase: Phase, until: Phase | None) -> bool:
    """Return whether ``phase`` is ``until`` or a later phase; False if ``until`` is None."""
    order = list(Phase)
    return until is not None and order.index(phase) >= order.index(until)


def resume_from(job: Job, known: Job, until: Phase | None) -> Job:
    """Return the stored state ``known``, adapted so that ``job`` continues from it.

    If another spec brought it there, its gate and grants may differ: an ended job starts again, which
    finds done what is done.
    """
    is_same = (job.spec, job.overrides, job.label) == (known.spec, known.overrides, known.label)
    if is_same or (reached(known.phase, until) and not known.phase.is_end):
        return known
    own = replace(known, name=job.name, spec=job.spec, overrides=job.overrides, label=job.label)
    return replace(own, phase=restart_phase(known.phase), force=job.force, error="")


@dataclass(frozen=True, slots=True)
class JobDriver:
    """Drives one job; every step is saved before the next one.

    Both methods raise NotFinished when ``timing.deadline`` has passed, Unavailable when the target was
    away for ``timing.patience_s``, and NotAllowed or RequestRefused when the service refuses. The store
    then has the job as it is, and the tuning continues.

    Attributes:
        store: Has the answers of models, and the jobs unless ``save`` is given.
        emit: Called with every event.
        timing: How time is spent.
        save: Saves a job.
        wait_for_news: Returns when an operation has changed, or after a number of seconds; without it
            the operation is polled at intervals.
        on_tuned: Called once the job is past its tuning.
    """

    store: Store
    emit: EventHandler
    timing: Timing
    save: Callable[[Job], object] | None = None
    wait_for_news: Callable[[str, float], Awaitable[None]] | None = None
    on_tuned: Callable[[], Awaitable[None]] | None = None

    async def follow(self, job: Job, work: PreparedJob, target: Target) -> Job:
        """Advance ``job`` to its end, or to ``timing.until``."""
        changed = False

        def handle(event: Event) -> None:
            nonlocal changed
            changed = changed or event.is_change
            self.emit(event)

        job, answers = self.store.with_rows(job), self.store.answers(job.where)
        job = await self._drive(
            job, lambda job: advance(job, work, target, handle, answers), self.timing.until
        )
        if job.phase.is_end:
            self.emit(Event(EventKind.ENDED, job, changed=changed))
        return job

    async def watch(self, job: Job, target: Target) -> Job:
        """Poll a tuning until it ends, without changing anything."""
        return await self._drive(job, lambda job: poll(job, target, self.emit), Phase.EVALUATE)

    async def _drive(self, job: Job, step: Step, until: Phase | None) -> Job:
        save, saved, saved_at = self.save or self.store.save, job, self.timing.now()
        try:
            while not job.phase.is_end and not reached(job.phase, until):
                after = await retry(partial(step, job), job, self.timing, self.emit)
                is_due = self.timing.now() - saved_at >= SAVE_PROGRESS_S
                if after != saved and (is_due or not is_progress(saved, after)):
                    save(after)
                    saved, saved_at = after, self.timing.now()
                if self.on_tuned and after.phase not in TUNING:
                    await self.on_tuned()
                is_same_step = after.phase is job.phase and after.stopping == job.stopping
                job = after
                if is_same_step:
                    await self._wait(job)
        finally:
            if job != saved:
                save(job)
        return job

    async def _wait(self, job: Job) -> None:
        left = remaining_seconds(self.timing, job)
        if self.wait_for_news is not None and job.operation:
            await self.wait_for_news(job.operation, left)
        else:
            await self.timing.sleep(min(jittered(self.timing.poll_s), left))


async def retry(
    call: Callable[[], Awaitable[Result]], job: Job, timing: Timing, emit: EventHandler
) -> Result:
    """Repeat a call while its target is unavailable; the call must be safe to repeat.

    Raises:
        Unavailable: It was away for ``timing.patience_s``.
        NotFinished: ``timing.deadline`` has passed.
    """
    give_up = timing.now() + timing.patience_s
    wait_s = 1.0
    while True:
        try:
            return await call()
        except Unavailable as error:
            pause = max(error.retry_after_s or 0.0, jittered(wait_s))
            if not error.is_passing:
                raise
            if error.is_quota:  # the service is available; wait until the deadline
                remaining_seconds(timing, job)
            elif timing.now() + pause > give_up:
                raise
            emit(Event(EventKind.WAITING, job, reason=error.what, seconds=pause))
            await timing.sleep(pause)
            wait_s = min(wait_s * 2, MAX_QUOTA_WAIT_S if error.is_quota else MAX_WAIT_S)


def remaining_seconds(timing: Timing, job: Job) -> float:
    """Return the seconds until the deadline. Raises NotFinished when it has passed."""
    if timing.deadline is None:
        return math.inf
    left = timing.deadline - timing.now()
    if left <= 0:
        raise NotFinished(
            f"{job.title} is not finished: {job.completed_steps} of {job.total_steps} steps",
            f"the tuning continues; `tuner resume {job.name}` follows it",
        )
    return left


def is_progress(before: Job, after: Job) -> bool:
    """Return whether the change could be read from the service again if it were lost."""
    change = (before.phase, after.phase)
    if before.phase is not after.phase and change not in _READABLE_CHANGES:
        return False
    is_same = before.stopping == after.stopping or change == _TUNED
    return is_same and _unreadable(before) == _unreadable(after)


_TUNED = (Phase.TUNE, Phase.EVALUATE)
_READABLE_CHANGES = (_TUNED, (Phase.SHARE, Phase.TRANSFER))
_READABLE = {"phase", "operation", "total_steps", "completed_steps", "mean_loss", "stopping"}
_unreadable = attrgetter(*(each.name for each in fields(Job) if each.name not in _READABLE))


class Runner:
    """The shared state of the jobs of one run; an async context manager.

    Every change is audited and every event logged in the folder ``logs`` beside the store.

    Attributes:
        store: Has the jobs.
        timing: How time is spent; poll interval and patience depend on each job's target.
        locks: The locks of this run.
    """

    def __init__(
        self, store: Store, emit: EventHandler, timing: Timing, *, send: Send = send_notification
    ) -> None:
        """Create a run; targets are opened when they are needed.

        Args:
            store: Open.
            emit: Called with every event, after the audit log and the event log.
            timing: How time is spent.
            send: Sends a notification.
        """
        folder = store.path.parent
        audit = AuditLog(folder / "logs" / "audit.jsonl")
        self.store, self.timing, self.locks = store, timing, JobLocks(folder)
        self._handlers = (audit, EventLog(folder / "logs" / "events.jsonl"), emit)
        self._pool = TargetPool(timing, audit.set_credentials)
        self._outbox = Outbox(store, self.emit, send, timing.sleep)
        self._changed: set[tuple[str, str]] = set()
        self._turns: dict[tuple[str, str], asyncio.Lock] = {}
        self._latest: dict[tuple[str, str], Job] = {}

    def emit(self, event: Event) -> None:
        """Pass an event to all handlers; the audit log comes first: if it fails, nothing is changed."""
        model = (event.job.where, event.job.tuned_model)
        if event.is_change:
            self._changed.add(model)
        if event.kind is EventKind.ENDED and model in self._changed:
            event = Event(EventKind.ENDED, event.job, changed=True)
        for handler in self._handlers:
            handler(event)

    async def __aenter__(self) -> Self:
        self._outbox.wake()  # deliver what an earlier run could not
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._outbox.close()
        finally:
            self.locks.close()
            await self._pool.close()

    async def follow(self, job: Job, work: PreparedJob, *, until: Phase | None = None) -> Outcome:
        """Advance a job to its end, or to the phase ``until``; never raises TunerError.

        While another process has the job's lock, watch, and continue when the lock is free. If this run
        follows the job already, wait and continue from there.
        """
        until = until or self.timing.until
        turn = self._turns.setdefault((job.where, job.tuned_model), asyncio.Lock())
        waited = turn.locked()
        async with turn:
            if waited:
                job = resume_from(job, self._stored(job), until)
            if waited and (job.phase.is_end or reached(job.phase, until)):
                return Outcome(job)
            if job.phase.is_end:
                self.emit(Event(EventKind.ENDED, job, changed=False))
                return Outcome(job)
            outcome = await self._follow_locked(job, work, until)
        if outcome.job.phase.is_end:
            self._outbox.wake()
            with suppress(TunerError):
                await lock_job(outcome.job, work, self.read_model, outcome.permissions, self.emit)
        return outcome

    async def watch(self, job: Job, *, cancel: bool = False) -> Outcome:
        """Poll a tuning until it ends, without the job's lock; with ``cancel``, cancel it first."""

        async def step(job: Job, opened: OpenTarget) -> Job:
            target = opened.throttled()
            if cancel:
                await self._cancel(job, target)
            driver = JobDriver(self.store, self.emit, self._timing_of(job), self._save_if_free)
            return await driver.watch(job, target)

        return await self._with_restarts(job, step)

    async def target(self, config: TargetConfig) -> Target:
        """Return the open target, with its rate limit.

        Raises:
            NotAllowed, Unavailable: As in ``open_target``.
        """
        return (await self._pool.get(config)).throttled()

    # -- one process per job ----------------------------------------------------------------------

    async def _follow_locked(self, job: Job, work: PreparedJob, until: Phase | None) -> Outcome:
        """Watch a job until its lock is free, then work on it.

        The lock is kept if the job stops before its end, since a pipeline continues it.
        """
        key = (job.where, job.tuned_model)
        known = self._stored(job)
        job = replace(
            job,
            evaluation=job.evaluation or known.evaluation,
            handed_to=job.handed_to or known.handed_to,
        )
        try:
            if not self.locks.acquire(*key):
                job = await self._watch_holder(job, until)
                if job.phase.is_end or reached(job.phase, until):
                    outcome = await self._ended_elsewhere(job)
                else:
                    self.emit(Event(EventKind.TAKEN_OVER, job, holder=self._holder(job)))
                    self.store.begin(job)
                    outcome = await self._work(job, work, until)
            else:
                self.store.begin(job)
                outcome = await self._work(job, work, until)
        except TunerError as error:
            outcome = Outcome(self._stored(job), error)
        if outcome.error or outcome.job.phase.is_end:
            self.locks.release(*key)
        return outcome

    async def _work(self, job: Job, work: PreparedJob, until: Phase | None) -> Outcome:
        """Advance a job whose lock this process holds."""
        self._latest[job.where, job.tuned_model] = job

        def save(job: Job) -> None:
            due = notifications(job, work.spec.notify) if job.phase.is_end else ()
            self.store.save(job, due)
            self._latest[job.where, job.tuned_model] = job

        async with AsyncExitStack() as slot:
            if job.phase in TUNING:
                order = (
                    0 if job.operation else 1
                )  # a running tuning has its slot at the target already
                await slot.enter_async_context(self._pool.slots(job.target).one(order))
            timing = replace(self._timing_of(job, work.spec.timeout_s), until=until)

            async def step(job: Job, opened: OpenTarget) -> Job:
                target, poller = opened.for_job(), opened.poller
                meter = closing(TokenMeter(work, target, self.emit)) if timing.measures else None
                with meter or nullcontext(self.emit) as emit:
                    driver = JobDriver(self.store, emit, timing, save, poller.news, slot.aclose)
                    return await driver.follow(job, work, target)

            return await self._with_restarts(job, step)

    async def _watch_holder(self, job: Job, until: Phase | None) -> Job:
        """Watch until the lock is acquired, or the holder has brought the job to its end or ``until``.

        Returns the job to continue with: as the holder left it, if it changed meanwhile.

        Raises:
            NotFinished: The deadline passed.
        """
        self.emit(Event(EventKind.WATCHING, job, holder=self._holder(job)))
        timing, polled_at, before = self._timing_of(job), self.timing.now(), self._stored(job)
        while not self.locks.acquire(job.where, job.tuned_model):
            known = self._stored(job)
            resumed = resume_from(job, known, until)
            if known != before and (resumed.phase.is_end or reached(resumed.phase, until)):
                return resumed
            if known.phase is Phase.TUNE and timing.now() - polled_at >= timing.poll_s:
                polled_at = timing.now()
                with suppress(TunerError):  # the holder deals with errors
                    await poll(known, await self.target(job.target), self._emit_progress)
            await timing.sleep(min(RETRY_S, remaining_seconds(timing, job)))
        known = self._stored(job)
        return job if known == before else resume_from(job, known, until)

    def _holder(self, job: Job) -> str:
        return str(self.store.holder(job.where, job.tuned_model) or "another process")

    def _emit_progress(self, event: Event) -> None:
        if event.kind is EventKind.PROGRESS:
            self.emit(event)

    async def _ended_elsewhere(self, job: Job) -> Outcome:
        if job.phase.is_end:
            self.emit(Event(EventKind.ENDED, job, changed=True))
        with suppress(TunerError):
            if job.phase is Phase.DONE:
                return Outcome(
                    job, permissions=await final_permissions(job, await self.target(job.target))
                )
        return Outcome(job)

    def _save_if_free(self, job: Job) -> None:
        """Save a watched job, unless another process runs it and has newer state."""
        key = (job.where, job.tuned_model)
        if not self.locks.holds(*key) and self.locks.acquire(*key):
            try:
                self.store.save(job)
            finally:
                self.locks.release(*key)

    def _stored(self, job: Job) -> Job:
        """Return the stored job; the last saved one if the store was lost or cannot be read."""
        with suppress(TunerError):
            if known := self.store.find(job.where, job.tuned_model):
                return known
        return self._latest.get((job.where, job.tuned_model), job)

    def _timing_of(self, job: Job, timeout_s: float | None = None) -> Timing:
        """The timing for a job: its target's, and its own timeout if the run has no deadline."""
        deadline = self.timing.deadline
        if deadline is None and timeout_s is not None:
            deadline = self.timing.now() + timeout_s
        kind = job.target.kind
        return replace(
            self.timing, poll_s=POLL_S[kind], patience_s=PATIENCE_S[kind], deadline=deadline
        )

    async def _with_restarts(
        self, job: Job, step: Callable[[Job, OpenTarget], Awaitable[Job]]
    ) -> Outcome:
        """Follow a job; restart a local service that died, up to ``MAX_RESTARTS`` times."""
        opened = None
        for restarts_left in reversed(range(MAX_RESTARTS + 1)):
            try:
                opened = await self._pool.get(job.target, gone=opened)
                job = await step(job, opened)
            except TunerError as error:
                job = self._latest.get((job.where, job.tuned_model), job)
                is_away = isinstance(error, Unavailable) and error.is_passing
                if not (is_away and job.target.kind == "local" and restarts_left):
                    return Outcome(job, error)
            else:
                break
        if job.phase is not Phase.DONE or opened is None:
            return Outcome(job)
        read = partial(final_permissions, job, opened.throttled())
        return Outcome(job, permissions=await retry(read, job, self._timing_of(job), self.emit))

    async def read_model(self, job: Job) -> TunedModel:
        """Return a job's tuned model, as the service shows it."""
        target = await self.target(job.target)
        read = partial(target.tuned_model, job.tuned_model)
        return await retry(read, job, self._timing_of(job), self.emit)

    async def _cancel(self, job: Job, target: Target) -> None:
        if job.phase not in TUNING:
            raise RequestRefused(
                f"{job.title} is past its tuning ({job.phase.lower()}): there is nothing to cancel",
                f"`tuner models delete {job.tuned_model}` deletes the model",
            )
        running = [job.operation] if job.operation else []
        if not running:
            running = [each.name for each in await target.operations(job.tuned_model)]
        why = "`tuner cancel`"
        for operation in running:
            self.emit(
                Event(EventKind.CHANGING, job, action="cancel", what=job.tuned_model, why=why)
            )
            await target.cancel(operation)
            self.emit(Event(EventKind.CANCELLING, job, why=why))


def find_or_create_job(
    work: PreparedJob, store: Store, overrides: Sequence[str] = (), *, new: bool = False
) -> Job:
    """Return the stored job to continue, or a new one.

    An ended job starts again: every step reads first, so what is done stays. A variant that was not
    selected stays not selected.

    Args:
        work: A valid spec with its data.
        store: May have the job.
        overrides: Those ``work`` was loaded with, for a later resume.
        new: Give the tuned model a random ID instead of the content's.
    """
    wanted = names.content_id(work.spec.job, secrets.token_hex(5)) if new else None
    job = Job(
        name=work.spec.job,
        target=work.spec.target,
        tuned_model=names.tuned_model(wanted or new_tuned_model(work).id),
        content=content_id(work),
        spec=str(work.spec.path.absolute()) if work.is_on_disk else "",
        overrides=tuple(overrides),
    )
    known = store.find(job.where, job.tuned_model)
    if known is None:
        return job
    if known.phase is Phase.NOT_SELECTED:
        return known
    is_other = known.content != job.content  # other data under the same tuned_model_id
    return replace(
        known,
        name=job.name,
        label="",
        best_of=0,
        target=job.target,
        spec=job.spec or known.spec,
        overrides=job.overrides if job.spec else known.overrides,
        phase=Phase.SUBMIT if is_other else restart_phase(known.phase),
        force=known.force and not known.phase.is_end and not is_other,
        error="",
    )


def check_unchanged(job: Job, work: PreparedJob) -> Job:
    """Return ``job`` ready to resume.

    Raises:
        InvalidInput: The spec or its data changed since the job was submitted.
    """
    if job.content != content_id(work):
        problem = Problem(
            job.spec,
            0,
            0,
            f"the spec or its data changed since {job.name} was submitted as {job.tuned_model}",
            f"undo the change to resume it, or start another job with `tuner run {job.spec}`",
        )
        raise InvalidInput([problem])
    if job.phase is Phase.NOT_SELECTED:
        return job
    force = job.force and not job.phase.is_end
    return replace(job, phase=restart_phase(job.phase), force=force, error="")


async def run_jobs(
    pairs: Sequence[tuple[Job, PreparedJob]], store: Store, emit: EventHandler, timing: Timing
) -> list[Outcome]:
    """Run jobs concurrently, to their ends or to ``timing.until``; a failure stops no other job."""
    async with Runner(store, emit, timing) as runner:
        return await asyncio.gather(*(runner.follow(job, work) for job, work in pairs))


async def watch_jobs(
    jobs: Sequence[Job], store: Store, emit: EventHandler, timing: Timing, *, cancel: bool = False
) -> list[Outcome]:
    """Watch tunings until they end; with ``cancel``, cancel them first."""
    async with Runner(store, emit, timing) as runner:
        return await asyncio.gather(*(runner.watch(job, cancel=cancel) for job in jobs))


async def run_together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines concurrently, as ``wait_for_all``."""
    await wait_for_all([asyncio.create_task(work) for work in works])


async def wait_for_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait for all tasks; if one fails, cancel the others and leave none running."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
