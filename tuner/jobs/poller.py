"""Poll the operations of one target for all jobs together."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, Any

from tuner.errors import NotAllowed, RequestRefused, TunerError, Unavailable
from tuner.types import Feature

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner.jobs.runner import Timing
    from tuner.targets import Target
    from tuner.types import Operation

POLL_S = {"local": 0.5, "gemini": 5.0}
MIN_POLL_S = {"local": 0.02, "gemini": 5.0}
MIN_LISTED = 10  # fewer operations are polled one by one
MAX_CONCURRENT_GETS = 32
MAX_POLLS_PER_SECOND = 1000
BATCH_RATIO = 20  # operations due within interval / BATCH_RATIO are polled together
PROGRESS_S = 1.0
AGE_RATIO = 10  # an operation is polled again after age / AGE_RATIO
MIN_IDLE_RATIO = (
    4  # a listing that takes t seconds is repeated after MIN_IDLE_RATIO * t at the earliest
)


class PolledOperation:
    """An operation's latest state, and the tasks that wait for changes."""

    __slots__ = (
        "due",
        "error",
        "given",
        "is_polled",
        "latest",
        "seen_at",
        "since",
        "told_at",
        "waiting",
    )

    def __init__(self, now: float) -> None:
        self.since = self.due = now
        self.seen_at = self.told_at = -math.inf
        self.latest: Operation | None = None
        self.given: Operation | None = None
        self.error: BaseException | None = None
        self.is_polled = False
        self.waiting: list[tuple[float, asyncio.Future[None]]] = []

    @property
    def has_news(self) -> bool:
        """Whether it ended, progressed or failed to be read since it was last returned."""
        if self.latest is None or self.given is None:
            return self.latest is not None or self.error is not None
        return self.latest.done or self.latest.completed_steps != self.given.completed_steps

    def wake(self, at: float = math.inf) -> None:
        """Wake the tasks whose wait ends by ``at``."""
        for until, waiter in self.waiting:
            if until <= at and not waiter.done():
                waiter.set_result(None)
        self.waiting = [each for each in self.waiting if not each[1].done()]

    def fail(self, error: BaseException) -> None:
        """Record an error; the next read raises it, and the one after that polls again."""
        self.latest, self.given, self.error = None, None, error
        self.wake()


class Poller:
    """Polls while a task waits.

    Uses one listing for ten operations or more if the target has listings, else one call per operation,
    spread over time. Young operations are polled more often: after a tenth of their age.
    """

    def __init__(self, target: Target, timing: Timing, min_poll_s: float | None = None) -> None:
        """``timing.poll_s`` is the longest time between two polls, ``min_poll_s`` the shortest."""
        self._target, self._timing = target, timing
        self._min_poll_s = timing.poll_s if min_poll_s is None else min_poll_s
        self._can_list = Feature.LISTING not in target.lacks
        self._operations: dict[str, PolledOperation] = {}
        self._took_s, self._wakes_at = 0.0, -math.inf
        self._wake_up = asyncio.Event()
        self._gets = asyncio.Semaphore(MAX_CONCURRENT_GETS)
        self._loop: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def operation(self, name: str) -> Operation:
        """Return the latest state; poll first if it is unknown or old.

        Raises:
            NotFound, NotAllowed, RequestRefused, Unavailable: From the target, raised once.
        """
        one = self._one(name)
        if one.latest is one.given and self._timing.now() - one.seen_at > 2 * self._longest_s:
            one.latest = one.given = None
        while (latest := one.latest) is None:
            if one.error is not None:
                error, one.error = one.error, None
                raise error.with_traceback(None)
            await self._wait(one)
        one.given = latest
        if latest.done:
            self.forget(name)
        return latest

    async def news(self, name: str, within_s: float = math.inf) -> None:
        """Return when it progressed (at most once per second), ended or failed, or after a time."""
        one = self._one(name)
        if not one.has_news:
            await self._wait(one, self._timing.now() + within_s)

    def saw(self, operation: Operation) -> None:
        """Use the state returned by another call, such as the create."""
        one = self._one(operation.name)
        self._see(one, operation, self._interval_s(len(self._operations), 0.0))

    def forget(self, name: str) -> None:
        """Drop an operation."""
        self._operations.pop(name, None)

    async def close(self) -> None:
        """Stop polling; tasks that still wait get Unavailable."""
        tasks = [*self._calls, *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        waiting = [one for one in self._operations.values() if one.waiting]
        _fail(waiting, Unavailable(f"the connection to {self._target.address} was closed"))

    # -- waiting --------------------------------------------------------------------------------

    def _one(self, name: str) -> PolledOperation:
        return self._operations.setdefault(name, PolledOperation(self._timing.now()))

    async def _wait(self, one: PolledOperation, until: float = math.inf) -> None:
        waiter = asyncio.get_running_loop().create_future()
        one.waiting.append((until, waiter))
        due = -math.inf if one.latest is None else min(until, one.due)
        if due < self._wakes_at:
            self._wake_up.set()
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run())
        try:
            await waiter
        finally:
            one.waiting = [each for each in one.waiting if each[1] is not waiter]

    def _see(self, one: PolledOperation, operation: Operation, interval_s: float) -> None:
        now = self._timing.now()
        one.latest, one.error = operation, None
        one.seen_at, one.due = now, now + interval_s
        is_urgent = operation.done or one.given is None
        if is_urgent or (one.has_news and now - one.told_at >= PROGRESS_S):
            one.told_at = now
            one.wake()

    # -- polling --------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Poll until no task waits."""
        try:
            while awaited := self._awaited():
                await self._poll(awaited)
                await self._pause(awaited.values())
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 -- raised again in the waiting task
            _fail(self._awaited().values(), error)

    def _awaited(self) -> dict[str, PolledOperation]:
        now = self._timing.now()
        for one in self._operations.values():
            if one.waiting:
                one.wake(now)
        return {name: one for name, one in self._operations.items() if one.waiting}

    async def _poll(self, awaited: dict[str, PolledOperation]) -> None:
        now = self._timing.now()
        unseen = [name for name, one in awaited.items() if one.latest is None]
        due = [name for name, one in awaited.items() if one.latest and one.due <= now]
        if self._can_list and len(awaited) >= MIN_LISTED and (due or len(unseen) >= MIN_LISTED):
            unseen, due = await self._list(awaited), []
        for name in (*unseen, *due):
            if not awaited[name].is_polled:
                self._start_get(name, awaited[name], len(awaited))

    async def _list(self, awaited: dict[str, PolledOperation]) -> list[str]:
        """Read all in one listing; return the names it lacks."""
        begun = self._timing.now()
        try:
            found = await self._target.followed(awaited.keys())
        except (NotAllowed, RequestRefused):  # from now on poll each by itself
            self._can_list = False
            return list(awaited)
        except TunerError as error:
            _fail(awaited.values(), error)
            return []
        now = self._timing.now()
        self._took_s = now - begun
        youngest_s = now - max(one.since for one in awaited.values())
        interval_s = _jittered(self._interval_s(len(awaited), youngest_s))
        for name, operation in found.items():
            self._see(awaited[name], operation, interval_s)
        return [name for name in awaited if name not in found]

    def _start_get(self, name: str, one: PolledOperation, running: int) -> None:
        one.is_polled = True
        task = asyncio.create_task(self._get(name, one, running))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _get(self, name: str, one: PolledOperation, running: int) -> None:
        try:
            async with self._gets:
                operation = await self._target.operation(name)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 -- raised again in the waiting task
            _fail([one], error)
        else:
            age_s = self._timing.now() - one.since
            self._see(one, operation, _jittered(self._interval_s(running, age_s)))
        finally:
            one.is_polled = False
            if one.due < self._wakes_at:
                self._wake_up.set()

    async def _pause(self, awaited: Iterable[PolledOperation]) -> None:
        """Sleep until the next poll is due, a wait ends, or a task needs an earlier poll."""
        dues = [one.due for one in awaited if not one.is_polled]
        untils = [until for one in awaited for until, _ in one.waiting]
        self._wakes_at = min([*dues, *untils], default=math.inf)
        together_s = self._interval_s(len(self._operations), 0.0) / BATCH_RATIO
        wait_s = max(self._wakes_at - self._timing.now(), together_s)
        sleeping: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._wake_up.wait())]
        if wait_s < math.inf:
            sleeping.append(asyncio.ensure_future(self._timing.sleep(wait_s)))
        try:
            await asyncio.wait(sleeping, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in sleeping:
                each.cancel()
            self._wakes_at = -math.inf
            self._wake_up.clear()

    @property
    def _longest_s(self) -> float:
        return max(self._timing.poll_s, len(self._operations) / MAX_POLLS_PER_SECOND)

    def _interval_s(self, running: int, age_s: float) -> float:
        """Seconds between two polls of an operation."""
        shortest = max(
            self._min_poll_s, running / MAX_POLLS_PER_SECOND, MIN_IDLE_RATIO * self._took_s
        )
        return min(max(age_s / AGE_RATIO, shortest), self._longest_s)


def _fail(those: Iterable[PolledOperation], error: BaseException) -> None:
    for one in those:
        one.fail(error)


def _jittered(seconds: float) -> float:
    """Up to 30 % less, so that many processes do not poll in step."""
    return seconds * random.uniform(0.7, 1.0)  # noqa: S311 -- not a secret
