"""The loop around the flow: it waits, retries, keeps the ledger, and follows many jobs at once."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from tuner.errors import NotFinished, Unavailable
from tuner.events.events import Event, EventKind
from tuner.job import Job, rewound
from tuner.jobs.flow import advance, look
from tuner.jobs.pauses import jittered
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tuner.events.events import EventHandler
    from tuner.jobs.ledger import Ledger
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.targets import Target

    Step = Callable[[Job], Awaitable[Job]]

POLL_S = {"local": 0.5, "gemini": 5.0}
PATIENCE_S = {"local": 5.0, "gemini": 300.0}
LONGEST_WAIT_S = 30.0
LONGEST_QUOTA_WAIT_S = 60.0
TUNING = (Phase.SUBMIT, Phase.TUNE)


@dataclass(frozen=True, slots=True)
class Pace:
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


def as_left(job: Job, known: Job, until: Phase | None) -> Job:
    """``known``, as somebody else left it, for ``job`` to go on with.

    Whoever followed it for another spec did not look at this one's gate, nor give what this one
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

    ledger: Ledger

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
class Runner:
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

    ledger: Ledger
    tell: EventHandler
    pace: Pace
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

        job, answers = self.ledger.whole(job), self.ledger.answers(job.where)
        job = await self._drive(
            job, lambda job: advance(job, work, target, note, answers), self.pace.until
        )
        if job.phase.is_end:
            self.tell(Event(EventKind.ENDED, job, changed=changed))
        return job

    async def watch(self, job: Job, target: Target) -> Job:
        """Follow a tuning until it is finished, and change nothing."""
        return await self._drive(job, lambda job: look(job, target, self.tell), Phase.EVALUATE)

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
                    left_s(self.pace, job)
                elif self.pace.now() + pause > gives_up:
                    raise
                self.tell(Event(EventKind.WAITING, job, reason=error.what, seconds=pause))
                await self.pace.sleep(pause)
                longest_s = LONGEST_QUOTA_WAIT_S if error.is_quota else LONGEST_WAIT_S
                wait_s = min(wait_s * 2, longest_s)

    async def _wait(self, job: Job) -> None:
        left = left_s(self.pace, job)
        if self.news is not None and job.operation:
            await self.news(job.operation, left)
        else:
            await self.pace.sleep(min(jittered(self.pace.poll_s), left))


def left_s(pace: Pace, job: Job) -> float:
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
