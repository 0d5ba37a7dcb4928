"""Looks at the running operations of one target for all jobs together, and wakes whose moved."""

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
QUICKEST_S = {"local": 0.02, "gemini": 5.0}
FEW = 10  # fewer are asked for one by one
AT_A_TIME = 32
RUNNING_A_SECOND = 1000  # so many are looked at in a second at most
TOGETHER = 20  # those that are due within such a part of the interval
PROGRESS_S = 1.0
YOUNG = 10  # looked at when it has aged by one of so many parts
SHARE = 4  # a listing that takes long is not asked for all the time


class PolledOperation:
    """One operation: what was seen of it last, and who waits for more."""

    __slots__ = (
        "due",
        "error",
        "given",
        "is_asked",
        "latest",
        "seen_at",
        "since",
        "told_at",
        "waiting",
    )

    def __init__(self, now: float) -> None:
        """Nothing is known yet; the clock is the pace's."""
        self.since = self.due = now
        self.seen_at = self.told_at = -math.inf
        self.latest: Operation | None = None
        self.given: Operation | None = None
        self.error: BaseException | None = None
        self.is_asked = False
        self.waiting: list[tuple[float, asyncio.Future[None]]] = []

    @property
    def has_news(self) -> bool:
        """Whether it ended, moved on or could not be seen since it was last given out."""
        if self.latest is None or self.given is None:
            return self.latest is not None or self.error is not None
        return self.latest.done or self.latest.completed_steps != self.given.completed_steps

    def wake(self, at: float = math.inf) -> None:
        """Let those go on who wait no longer than until ``at``."""
        for until, waiter in self.waiting:
            if until <= at and not waiter.done():
                waiter.set_result(None)
        self.waiting = [each for each in self.waiting if not each[1].done()]

    def fail(self, error: BaseException) -> None:
        """It could not be seen; who asks next is told, and who asks after that looks anew."""
        self.latest, self.given, self.error = None, None, error
        self.wake()


class Poller:
    """One loop that looks while anybody waits.

    Ten operations or more are seen in one listing, where there is one; otherwise each is asked for on
    its own, not all in one moment. Young ones are looked at whenever a tenth of their age has passed.
    """

    def __init__(self, target: Target, pace: Timing, quickest_s: float | None = None) -> None:
        """``pace.poll_s`` is the longest time between two looks, ``quickest_s`` the shortest."""
        self._target, self._pace = target, pace
        self._quickest_s = pace.poll_s if quickest_s is None else quickest_s
        self._can_list = Feature.LISTING not in target.lacks
        self._followed: dict[str, PolledOperation] = {}
        self._took_s, self._wakes_at = 0.0, -math.inf
        self._hurry = asyncio.Event()
        self._few = asyncio.Semaphore(AT_A_TIME)
        self._loop: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()

    async def operation(self, name: str) -> Operation:
        """What was seen last; looked at anew when that is not known, or old.

        Raises:
            NotFound, NotAllowed, RequestRefused, Unavailable: What the target answered, told once.
        """
        one = self._one(name)
        if one.latest is one.given and self._pace.now() - one.seen_at > 2 * self._longest_s:
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
        """Come back when it moved (once a second at most), ended or cannot be seen; or after a time."""
        one = self._one(name)
        if not one.has_news:
            await self._wait(one, self._pace.now() + within_s)

    def saw(self, operation: Operation) -> None:
        """Take what another call showed, such as the one that began it: no look is needed for it."""
        one = self._one(operation.name)
        self._see(one, operation, self._interval_s(len(self._followed), 0.0))

    def forget(self, name: str) -> None:
        """Nobody will ask for it again."""
        self._followed.pop(name, None)

    async def close(self) -> None:
        """Stop looking; whoever still waits is told that the target is not available."""
        tasks = [*self._asking, *([self._loop] if self._loop else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        waiting = [one for one in self._followed.values() if one.waiting]
        _fail(waiting, Unavailable(f"the connection to {self._target.address} was given up"))

    # -- who waits ------------------------------------------------------------------------------

    def _one(self, name: str) -> PolledOperation:
        return self._followed.setdefault(name, PolledOperation(self._pace.now()))

    async def _wait(self, one: PolledOperation, until: float = math.inf) -> None:
        waiter = asyncio.get_running_loop().create_future()
        one.waiting.append((until, waiter))
        due = -math.inf if one.latest is None else min(until, one.due)
        if due < self._wakes_at:
            self._hurry.set()
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run())
        try:
            await waiter
        finally:
            one.waiting = [each for each in one.waiting if each[1] is not waiter]

    def _see(self, one: PolledOperation, operation: Operation, interval_s: float) -> None:
        now = self._pace.now()
        one.latest, one.error = operation, None
        one.seen_at, one.due = now, now + interval_s
        is_urgent = operation.done or one.given is None
        if is_urgent or (one.has_news and now - one.told_at >= PROGRESS_S):
            one.told_at = now
            one.wake()

    # -- who looks ------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Look, and sleep until the next look is due, while anybody waits."""
        try:
            while awaited := self._awaited():
                await self._look(awaited)
                await self._pause(awaited.values())
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever it is, who waits must hear of it
            _fail(self._awaited().values(), error)

    def _awaited(self) -> dict[str, PolledOperation]:
        now = self._pace.now()
        for one in self._followed.values():
            if one.waiting:
                one.wake(now)
        return {name: one for name, one in self._followed.items() if one.waiting}

    async def _look(self, awaited: dict[str, PolledOperation]) -> None:
        now = self._pace.now()
        unseen = [name for name, one in awaited.items() if one.latest is None]
        due = [name for name, one in awaited.items() if one.latest and one.due <= now]
        if self._can_list and len(awaited) >= FEW and (due or len(unseen) >= FEW):
            unseen, due = await self._list(awaited), []
        for name in (*unseen, *due):
            if not awaited[name].is_asked:
                self._ask(name, awaited[name], len(awaited))

    async def _list(self, awaited: dict[str, PolledOperation]) -> list[str]:
        """See all in one listing; returns those that it does not show."""
        begun = self._pace.now()
        try:
            found = await self._target.followed(awaited.keys())
        except (NotAllowed, RequestRefused):  # then each on its own, and never again all at once
            self._can_list = False
            return list(awaited)
        except TunerError as error:
            _fail(awaited.values(), error)
            return []
        now = self._pace.now()
        self._took_s = now - begun
        youngest_s = now - max(one.since for one in awaited.values())
        interval_s = _jittered(self._interval_s(len(awaited), youngest_s))
        for name, operation in found.items():
            self._see(awaited[name], operation, interval_s)
        return [name for name in awaited if name not in found]

    def _ask(self, name: str, one: PolledOperation, running: int) -> None:
        one.is_asked = True
        task = asyncio.create_task(self._get(name, one, running))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _get(self, name: str, one: PolledOperation, running: int) -> None:
        try:
            async with self._few:
                operation = await self._target.operation(name)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever it is, who waits must hear of it
            _fail([one], error)
        else:
            age_s = self._pace.now() - one.since
            self._see(one, operation, _jittered(self._interval_s(running, age_s)))
        finally:
            one.is_asked = False
            if one.due < self._wakes_at:
                self._hurry.set()

    async def _pause(self, awaited: Iterable[PolledOperation]) -> None:
        """Sleep until the next look is due, somebody's time is over, or somebody is in a hurry."""
        dues = [one.due for one in awaited if not one.is_asked]
        untils = [until for one in awaited for until, _ in one.waiting]
        self._wakes_at = min([*dues, *untils], default=math.inf)
        together_s = self._interval_s(len(self._followed), 0.0) / TOGETHER
        wait_s = max(self._wakes_at - self._pace.now(), together_s)
        sleeping: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._hurry.wait())]
        if wait_s < math.inf:
            sleeping.append(asyncio.ensure_future(self._pace.sleep(wait_s)))
        try:
            await asyncio.wait(sleeping, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in sleeping:
                each.cancel()
            self._wakes_at = -math.inf
            self._hurry.clear()

    @property
    def _longest_s(self) -> float:
        return max(self._pace.poll_s, len(self._followed) / RUNNING_A_SECOND)

    def _interval_s(self, running: int, age_s: float) -> float:
        """How long to sleep between two looks: not longer than the pace says, unless all are very many."""
        shortest = max(self._quickest_s, running / RUNNING_A_SECOND, SHARE * self._took_s)
        return min(max(age_s / YOUNG, shortest), self._longest_s)


def _fail(those: Iterable[PolledOperation], error: BaseException) -> None:
    for one in those:
        one.fail(error)


def _jittered(seconds: float) -> float:
    """Up to a third less, so that many runners do not ask in step."""
    return seconds * random.uniform(0.7, 1.0)  # noqa: S311 -- nothing secret
