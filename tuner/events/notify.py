"""Whoever should know is told that a job ended, at least once, however often we crash."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

from tuner.errors import InvalidInput, TunerError
from tuner.evaluation import gate
from tuner.events.events import Event, EventKind
from tuner.events.sending import NotDelivered, send
from tuner.formatting import format_time
from tuner.jobs import store
from tuner.jobs.outcome import failure
from tuner.jobs.store import Notification, Store
from tuner.jobspec.files import is_pipeline
from tuner.targets.retry import jittered
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from tuner.events.events import EventHandler
    from tuner.job import Evaluation, Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.jobspec.schema import Notify

    Receivers = Mapping[str, tuple[Notify, ...]]

LAST_S = 10.0
ANY_JOB = ""
"""In place of a title: of a spec that is no pipeline, whatever its job was called."""
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
KINDS = {
    Phase.DONE: "done",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "failed",
    Phase.REJECTED: "rejected",
}


class Send(Protocol):
    """Tells one receiver once; raises NotDelivered."""

    async def __call__(self, sink: Notify, notice: Notification) -> None:
        """Send it."""


def notices(job: Job, work: PreparedJob, at: float | None = None) -> list[Notification]:
    """What is to be told now that ``job`` has ended, to be saved with that end.

    The same end gives the same ids, so that what was told once is not told again; a retry is
    another attempt, and tells. No text of an example, no word of a service's error, and no address
    of a receiver is in it.

    Args:
        job: In an end phase; another one gives nothing.
        work: Its spec says whom to tell.
        at: When it ended, seconds since 1970; now when left out.
    """
    if not work.spec.notify:
        return []
    kinds = [KINDS[job.phase]] if job.phase in KINDS else []
    if job.phase is Phase.DONE and job.handed_to:
        kinds.append("transferred")
    when = time.time() if at is None else at
    return [
        Notification(_id(job, kind, sink), job.where, job.tuned_model, sink_id(sink), body)
        for kind in kinds
        for body in [json.dumps({"version": 1, "event": kind, **_body(job, kind, when)})]
        for sink in work.spec.notify
        if kind in sink.on
    ]


def _id(job: Job, kind: str, sink: Notify) -> str:
    heir = job.handed_to if kind == "transferred" else ""
    said = [job.where, job.tuned_model, kind, job.attempt, heir, sink_id(sink)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]


def sink_id(sink: Notify) -> str:
    """Names a receiver without its address; a new query, which may hold a token, changes nothing."""
    url = sink.url.partition("?")[0]
    said = json.dumps([url, sink.command])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _body(job: Job, kind: str, when: float) -> dict[str, object]:
    wrong = failure(job)
    told: dict[str, object] = {
        "time": format_time(when),
        "job": job.name,
        "label": job.label,
        "best_of": job.best_of or None,
        "target": job.where,
        "tuned_model": job.tuned_model,
        "phase": job.phase.value,
        "exit_code": wrong.exit_code if wrong else 0,
        "forced": gate.is_forced(job.allowed),
        "scores": _scores(job.evaluation) if job.evaluation else None,
    }
    return told | ({"owner": job.handed_to} if kind == "transferred" else {})


def _scores(evaluation: Evaluation) -> dict[str, object]:
    metric = evaluation.metric
    return {
        "metric": metric,
        "tuned": evaluation.tuned.get(metric),
        "base": evaluation.base.get(metric),
        "interval": asdict(evaluation.interval) if evaluation.interval else None,
        "rows": evaluation.count,
    }


class Outbox:
    """Delivers what the ledger says is still to be told, beside the jobs of a run.

    At least once: what is cut off between its sending and the note of it is sent again, under the
    same id. A receiver gets what concerns it in the order of the ends. No failure here fails a job.
    """

    def __init__(
        self,
        ledger: Store,
        tell: EventHandler,
        send: Send = send,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``tell`` hears who could not be told."""
        self._ledger, self._tell = ledger, tell
        self._send, self._sleep = send, sleep
        self._known: dict[tuple[str, str], tuple[Notify, ...]] = {}
        self._named: dict[tuple[str, ...], Receivers | None] = {}  # by spec and overrides
        self._left: set[str] = set()  # receivers that this run tries no more
        self._why: dict[str, str] = {}  # what a receiver said last
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def knows(self, job: Job, work: PreparedJob) -> None:
        """Whom a job of this run tells; of others the ledger names the spec file."""
        self._known[job.where, job.tuned_model] = work.spec.notify

    def wake(self) -> None:
        """Begin to deliver, in the background; to be called when a job has ended."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self.deliver())

    async def close(self) -> None:
        """Deliver what is left, for ``LAST_S`` at most; the rest is for the next run."""
        with suppress(TunerError):  # an unusable ledger has stopped the jobs already, and said so
            try:
                async with asyncio.timeout(LAST_S):
                    if self._task:
                        await self._task
                    await self.deliver()
            except TimeoutError:
                self._say_what_is_left()
            finally:
                if self._task:
                    self._task.cancel()

    async def deliver(self) -> None:
        """Tell everybody who is still to be told, each receiver in order, all receivers at once."""
        async with self._lock:
            while waiting := list(self._deliverable()):
                lines: dict[str, list[_Delivery]] = {}
                for each in waiting:
                    lines.setdefault(each.notice.sink, []).append(each)
                await asyncio.gather(*map(self._in_order, lines.values()))

    def _say_what_is_left(self) -> None:
        """A line a receiver, however much it is to be told."""
        said = set(self._left)
        for each in self._deliverable():
            sink, notice = each
            if notice.sink not in said:
                why = self._why.get(notice.sink, "there was no time")
                self._say(notice, f"{why}; the next run tries again", sink)
            said.add(notice.sink)

    def _deliverable(self) -> Iterator[_Delivery]:
        """What is due and can be delivered now; what never can be any more is given up."""
        for notice in store.pending_notifications(self._ledger):
            if notice.sink in self._left:
                continue
            receivers = self._receivers(notice)
            if receivers is None:
                continue
            sink = next((each for each in receivers if sink_id(each) == notice.sink), None)
            if sink:
                yield _Delivery(sink, notice)
            else:
                self._give_up(notice, "its spec no longer names it")

    def _receivers(self, notice: Notification) -> tuple[Notify, ...] | None:
        """Whom the job's spec tells by now; None when it cannot be read at present."""
        place = (notice.target, notice.tuned_model)
        if place in self._known:
            return self._known[place]
        job = self._ledger.find(*place)
        if job is None:
            return ()
        origin = (job.spec, *job.overrides)
        if origin not in self._named:
            self._named[origin] = _receivers_of(job)
        named = self._named[origin]
        return None if named is None else named.get(job.title) or named.get(ANY_JOB, ())

    async def _in_order(self, line: list[_Delivery]) -> None:
        for each in line:
            if not await self._patiently(each):
                self._left.add(each.notice.sink)
                return

    async def _patiently(self, delivery: _Delivery) -> bool:
        """Whether the receiver need not be thought of any more: it was told, or will never be."""
        sink, notice = delivery
        for pause_s in (*PAUSES_S, None):
            try:
                await self._send(sink, notice)
            except NotDelivered as error:
                notice = notice._replace(tries=notice.tries + 1)
                self._why[notice.sink] = error.why
                if notice.tries >= error.tries:
                    self._give_up(notice, error.why, sink)
                    return True
                store.mark_notification(self._ledger, notice, store.PENDING)
                if pause_s is None or not error.is_passing:
                    self._say(notice, f"{error.why}; the next run tries again", sink)
                    return False
                await self._sleep(max(error.retry_after_s, jittered(pause_s)))
            else:
                store.mark_notification(self._ledger, notice, store.DELIVERED)
                return True
        return False

    def _give_up(self, notice: Notification, why: str, sink: Notify | None = None) -> None:
        store.mark_notification(self._ledger, notice, store.ABANDONED)
        self._say(notice, f"{why}; given up", sink)

    def _say(self, notice: Notification, why: str, sink: Notify | None = None) -> None:
        job = self._ledger.find(notice.target, notice.tuned_model)
        if job:
            self._tell(Event(EventKind.NOTIFICATION_FAILED, job, sink=shown(sink), why=why))


class _Delivery(NamedTuple):
    sink: Notify
    notice: Notification


def shown(sink: Notify | None) -> str:
    """A receiver as people may see it: the rest of an address may hold a token."""
    if sink is None:
        return "a receiver"
    return "a command" if sink.command else urlsplit(sink.url).hostname or "a webhook"


def _receivers_of(job: Job) -> Receivers | None:
    """Those of a file's jobs that are not of this run, by title; None when it is at present no spec."""
    from tuner.jobspec.load import read_partial_spec
    from tuner.pipelines.load import stage_receivers

    if not job.spec:  # started from Python, where another run may name them again
        return None
    path = Path(job.spec)
    try:
        if not path.exists():
            return {}
        if is_pipeline(path):
            return stage_receivers(path, job.overrides)
        spec = read_partial_spec(path, job.overrides).spec
    except (InvalidInput, OSError):  # a folder that is locked just now may be open again
        return None
    return {ANY_JOB: spec.notify} if spec else None
