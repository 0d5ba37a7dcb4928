"""A loop over a target in memory, by a clock that jumps to whatever is slept for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tuner.errors import NotAllowed, NotFound, RequestRefused, Unavailable
from tuner.jobs.poller import MAX_CONCURRENT_GETS, Poller
from tuner.jobs.runner import Timing
from tuner.types import Feature, Operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection


@dataclass
class Clock:
    """Whoever sleeps wakes in the order of time, once everybody else has had his turn."""

    now: float = 0.0
    _asleep: list[tuple[float, int, asyncio.Future[None]]] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        waker = asyncio.get_running_loop().create_future()
        self._asleep.append((self.now + seconds, len(self._asleep), waker))
        await waker

    async def run(self) -> None:
        """Move on whenever nothing else can."""
        while True:
            for _ in range(20):
                await asyncio.sleep(0)
            self._asleep = sorted(each for each in self._asleep if not each[2].done())
            if self._asleep:
                at, _, waker = self._asleep.pop(0)
                self.now = max(self.now, at)
                waker.set_result(None)


@dataclass
class Service:
    """Operations that end at a time; ``calls`` is (when, how, how many)."""

    clock: Clock
    ends: dict[str, float]
    lacks: dict[Feature, str] = field(default_factory=dict)
    address: str = "service (in memory)"
    steps_a_second: int = 0
    faults: list[BaseException] = field(default_factory=list)
    refuses_to_list: BaseException | None = None
    hidden: set[str] = field(default_factory=set)
    calls: list[tuple[float, str, int]] = field(default_factory=list)
    inside: int = 0
    highest: int = 0

    def look(self, name: str) -> Operation:
        done = self.clock.now >= self.ends[name]
        steps = int(self.clock.now * self.steps_a_second)
        return Operation(name, "m", done=done, completed_steps=steps)

    async def operation(self, name: str) -> Operation:
        self.calls.append((self.clock.now, "get", 1))
        self.inside += 1
        self.highest = max(self.highest, self.inside)
        await asyncio.sleep(0)
        self.inside -= 1
        self._fail()
        if name not in self.ends:
            raise NotFound(f"there is no {name}")
        return self.look(name)

    async def followed(self, names: Collection[str]) -> dict[str, Operation]:
        self.calls.append((self.clock.now, "list", len(names)))
        self._fail()
        if self.refuses_to_list:
            raise self.refuses_to_list
        seen = [name for name in names if name in self.ends and name not in self.hidden]
        return {name: self.look(name) for name in seen}

    def count(self, how: str) -> int:
        return sum(call[1] == how for call in self.calls)

    def _fail(self) -> None:
        if self.faults:
            raise self.faults.pop(0)


async def ended(follower: Poller, name: str) -> Operation:
    while True:
        operation = await follower.operation(name)
        if operation.done:
            return operation
        await follower.news(name)


def followed(
    question: Callable[[Poller, Service], Awaitable[Any]],
    ends: dict[str, float],
    min_poll_s: float | None = None,
    poll_s: float = 1.0,
    **service: Any,
) -> tuple[Any, Service]:
    async def asked() -> tuple[Any, Service]:
        clock = Clock()
        target = Service(clock, ends, **service)
        pace = Timing(poll_s=poll_s, now=lambda: clock.now, sleep=clock.sleep)
        follower = Poller(target, pace, min_poll_s)
        running = asyncio.create_task(clock.run())
        try:
            return await asyncio.wait_for(question(follower, target), 20), target
        finally:
            await follower.close()
            running.cancel()

    return asyncio.run(asked())


async def all_of_them(follower: Poller, target: Service) -> list[float]:
    """When the end of each was heard of, after it."""

    async def one(name: str) -> float:
        await ended(follower, name)
        return target.clock.now - target.ends[name]

    return await asyncio.gather(*(one(name) for name in target.ends))


def ends(count: int, within_s: float = 20.0) -> dict[str, float]:
    return {f"o{number}": (number + 1) * within_s / count for number in range(count)}


def test_many_are_seen_in_one_listing_a_round() -> None:
    late, service = followed(all_of_them, ends(300))

    assert max(late) <= 1.2
    assert service.count("get") <= 10 * 25
    assert 15 <= service.count("list") <= 27


def test_few_are_asked_for_one_by_one() -> None:
    late, service = followed(all_of_them, ends(5))

    assert max(late) <= 1.2
    assert service.count("list") == 0
    assert service.count("get") <= 5 * 27


@pytest.mark.slow
def test_without_a_listing_not_all_are_asked_for_at_once() -> None:
    late, service = followed(all_of_them, ends(60), lacks={Feature.LISTING: "no"})

    assert max(late) <= 1.3
    assert service.count("list") == 0
    assert service.highest <= MAX_CONCURRENT_GETS
    assert len({at for at, *_ in service.calls}) > 60


@pytest.mark.parametrize("error", [RequestRefused("no such method"), NotAllowed("not for you")])
def test_a_listing_that_is_refused_is_not_asked_for_again(error: Exception) -> None:
    late, service = followed(all_of_them, ends(12, 5.0), refuses_to_list=error)

    assert max(late) <= 1.3
    assert service.count("list") == 1


def test_what_the_listing_does_not_show_is_asked_for_on_its_own() -> None:
    late, service = followed(all_of_them, ends(20), hidden={"o3", "o19"})

    assert max(late) <= 1.3
    assert service.count("list") > 5


def test_one_that_is_gone_fails_alone() -> None:
    async def asked(follower: Poller, target: Service) -> list[Any]:
        names = [*target.ends, "gone"]
        return await asyncio.gather(
            *(ended(follower, name) for name in names), return_exceptions=True
        )

    results, _ = followed(asked, ends(12))

    assert isinstance(results[-1], NotFound)
    assert all(each.done for each in results[:-1])


@pytest.mark.parametrize("count", [3, 30])
def test_a_target_that_is_away_is_told_to_each_once_and_then_looked_at_anew(count: int) -> None:
    async def asked(follower: Poller, target: Service) -> list[int]:
        target.faults = [Unavailable("gone")] * (count if count < 10 else 1)

        async def one(name: str) -> int:
            told = 0
            while True:
                try:
                    await ended(follower, name)
                except Unavailable:
                    told += 1
                    await target.clock.sleep(2)
                else:
                    return told

        return await asyncio.gather(*(one(name) for name in target.ends))

    assert followed(asked, ends(count))[0] == [1] * count


def test_an_error_in_the_middle_reaches_who_waits_for_news() -> None:
    async def asked(follower: Poller, target: Service) -> bool:
        await follower.operation("o0")
        target.faults = [Unavailable("gone")]
        await follower.news("o0")
        with pytest.raises(Unavailable):
            await follower.operation("o0")
        failed_at = target.clock.now
        assert not (await follower.operation("o0")).done
        return target.clock.now == failed_at

    assert followed(asked, {"o0": 50.0})[0] is True


def test_a_young_one_is_looked_at_soon_and_an_old_one_seldom() -> None:
    late, service = followed(all_of_them, {"o0": 0.5, "o1": 60.0}, min_poll_s=0.02)

    assert late[0] <= 0.1
    assert service.count("get") < 170
    assert late[1] <= 1.2


@pytest.mark.slow
def test_thousands_of_young_ones_are_not_looked_at_all_the_time() -> None:
    _, service = followed(all_of_them, ends(2000, 10.0), min_poll_s=0.02)

    assert service.count("list") <= 20


def test_steps_are_news_once_a_second() -> None:
    async def asked(follower: Poller, _target: Service) -> int:
        news = 0
        while not (await follower.operation("o0")).done:
            await follower.news("o0")
            news += 1
        return news

    news, service = followed(asked, {"o0": 10.0}, min_poll_s=0.02, poll_s=0.1, steps_a_second=50)

    assert news <= 11
    assert service.count("get") > 50


def test_who_waits_for_a_time_gets_back_in_time() -> None:
    async def asked(follower: Poller, target: Service) -> float:
        await follower.operation("o0")
        await follower.news("o0", within_s=0.25)
        return target.clock.now

    assert followed(asked, {"o0": 50.0})[0] == 0.25


def test_what_another_call_showed_needs_no_look() -> None:
    async def asked(follower: Poller, target: Service) -> int:
        follower.saw(target.look("o0"))
        await follower.operation("o0")
        return len(target.calls)

    assert followed(asked, {"o0": 50.0})[0] == 0


def test_what_was_seen_long_ago_is_looked_at_anew() -> None:
    async def asked(follower: Poller, target: Service) -> bool:
        await follower.operation("o0")
        await target.clock.sleep(60)
        return (await follower.operation("o0")).done

    assert followed(asked, {"o0": 50.0})[0] is True


def test_nobody_is_left_waiting_when_something_else_breaks() -> None:
    class Crash(BaseException):
        pass

    async def asked(follower: Poller, target: Service) -> list[Any]:
        target.faults = [Crash()]
        return await asyncio.gather(
            *(ended(follower, name) for name in target.ends), return_exceptions=True
        )

    results, _ = followed(asked, ends(15))

    assert [type(each) for each in results] == [Crash] * 15


def test_when_nobody_waits_nobody_looks() -> None:
    async def asked(follower: Poller, target: Service) -> int:
        await all_of_them(follower, target)
        before = len(target.calls)
        await target.clock.sleep(100)
        return len(target.calls) - before

    assert followed(asked, ends(12))[0] == 0


def test_who_waits_when_it_is_closed_may_ask_again() -> None:
    async def asked(follower: Poller, target: Service) -> list[Any]:
        await follower.operation("o0")
        first = asyncio.create_task(follower.news("o0"))
        second = asyncio.create_task(follower.operation("o1"))
        await target.clock.sleep(0.1)
        target.faults = [Unavailable("gone")]
        third = asyncio.create_task(follower.operation("o2"))
        await asyncio.sleep(0)
        await follower.close()
        told = await asyncio.gather(first, second, third, return_exceptions=True)
        with pytest.raises(Unavailable, match="was closed"):
            await follower.operation("o0")
        target.faults = []
        return [type(each) for each in told] + [(await follower.operation("o0")).name]

    found, _ = followed(asked, {"o0": 50.0, "o1": 50.0, "o2": 50.0})

    assert found == [type(None), Operation, Unavailable, "o0"]
