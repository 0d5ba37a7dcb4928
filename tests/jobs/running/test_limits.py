"""Calls a second by a clock of the test's own, and slots by tasks that take turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tuner.jobs.target_pool import RateLimit, Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Clock:
    """Stands still; whoever sleeps is noted with the time at which it wakes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.wakes: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.wakes.append(round(self.now + seconds, 6))


def waits(per_second: float, calls: int, at: Callable[[int], float] = lambda _: 0.0) -> list[float]:
    """When the calls that had to wait could go."""

    async def called() -> list[float]:
        clock = Clock()
        rate = RateLimit(per_second, lambda: clock.now, clock.sleep)
        for call in range(calls):
            clock.now = at(call)
            await rate()
        return clock.wakes

    return asyncio.run(called())


def test_what_a_second_allows_goes_at_once_and_the_rest_in_step() -> None:
    assert waits(4, 7) == [0.25, 0.5, 0.75]


def test_calls_slower_than_the_rate_never_wait() -> None:
    assert waits(4, 20, at=lambda call: call * 0.25) == []


def test_a_pause_saves_up_one_second_and_no_more() -> None:
    assert waits(2, 6, at=lambda call: 0.0 if call < 2 else 100.0) == [100.5, 101.0]


def test_less_than_one_a_second_lets_the_first_go_at_once() -> None:
    assert waits(0.5, 3) == [2.0, 4.0]


def test_without_a_rate_nothing_waits() -> None:
    assert waits(0, 1000) == []


class Room:
    """Who is in, who was, and how many at most."""

    def __init__(self, most: int) -> None:
        self.slots = Slots(most)
        self.entered: list[int] = []
        self.inside = self.highest = 0

    async def visit(self, order: int, stay: int = 3) -> None:
        async with self.slots.one(order):
            self.entered.append(order)
            self.inside += 1
            self.highest = max(self.highest, self.inside)
            for _ in range(stay):
                await asyncio.sleep(0)
            self.inside -= 1


def visited(most: int, orders: Sequence[int]) -> Room:
    async def all_of_them() -> Room:
        room = Room(most)
        await asyncio.gather(*(room.visit(order) for order in orders))
        return room

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("most", [1, 2, 5])
def test_never_more_than_the_limit_and_everybody_in_the_end(most: int) -> None:
    room = visited(most, [0] * 17)

    assert (room.highest, len(room.entered), room.inside) == (most, 17, 0)


def test_without_a_limit_all_go_in() -> None:
    assert visited(0, [0] * 9).highest == 9


def test_the_lowest_order_goes_first_however_they_came() -> None:
    assert visited(1, [3, 1, 2, 0]).entered == [0, 1, 2, 3]


def test_who_is_cancelled_while_waiting_takes_no_slot() -> None:
    async def cancelled() -> Room:
        room = Room(1)
        first = asyncio.create_task(room.visit(0, stay=10))
        gone = asyncio.create_task(room.visit(1))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(first, gone, room.visit(2), return_exceptions=True)
        return room

    assert asyncio.run(cancelled()).entered == [0, 2]


@pytest.mark.parametrize("passes", range(6))
def test_a_slot_handed_over_at_the_moment_of_cancelling_is_not_lost(passes: int) -> None:
    async def cancelled() -> Room:
        room = Room(1)
        gone = asyncio.create_task(room.visit(0))
        for _ in range(passes):
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await asyncio.wait_for(room.visit(1), 5)
        return room

    assert asyncio.run(cancelled()).entered[-1] == 1


def test_an_error_inside_gives_the_slot_back() -> None:
    async def broken() -> Room:
        room = Room(1)
        with pytest.raises(ZeroDivisionError):
            async with room.slots.one():
                raise ZeroDivisionError
        await room.visit(7)
        return room

    assert asyncio.run(broken()).entered == [7]
