"""Rate limits, slots, and the target that a job sees."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from tests.fakes.target import FakeTarget
from tests.fakes.work import WORK, job_of, right_answers
from tuner.jobs.poller import Poller
from tuner.jobs.runner import Timing
from tuner.jobs.target_pool import RateLimit, Slots, ThrottledTarget
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.targets import Target
from tuner.types import GenerationConfig, Grant, Role

JOB = job_of(WORK)
NEW = new_tuned_model(WORK)
OPERATION = f"{NEW.name}/operations/op1"
GRANT = Grant(Role.READER, email_address="ana@example.com")
HELD = f"{NEW.name}/permissions/HELD"
READS = {
    "models": (),
    "model": ("models/tiny",),
    "tuned_models": ("",),
    "tuned_model": (NEW.name,),
    "operation": (OPERATION,),
    "operations": (NEW.name,),
    "followed": ((OPERATION,),),
    "permissions": (NEW.name,),
    "generate": ("models/tiny", "hello", GenerationConfig()),
    "count_tokens": ("models/tiny", "hello"),
}
CHANGES = {
    "create": (NEW,),
    "update": (NEW.name, {"display_name": "Capitals"}),
    "cancel": (OPERATION,),
    "grant": (NEW.name, Grant(Role.READER, email_address="bo@example.com")),
    "change_role": (HELD, Role.WRITER),
    "revoke": (HELD,),
    "transfer": (NEW.name, "lead@example.com"),
    "delete": (NEW.name,),
}


def with_a_model():
    target = FakeTarget(answers=right_answers(NEW.name))
    asyncio.run(target.create(NEW))
    asyncio.run(target.grant(NEW.name, GRANT))
    target.calls.clear()
    return target


def test_every_method_of_a_target_is_one_or_the_other():
    methods = {name for name, _ in inspect.getmembers(Target, inspect.isfunction)}

    assert methods - {"__init__", "_no_init_or_replace_init", "__subclasshook__"} == {
        *READS,
        *CHANGES,
        "stream",
        "close",
    }


@pytest.mark.parametrize("name", READS)
def test_a_read_returns_what_the_target_returns(name):
    target = with_a_model()

    read = asyncio.run(getattr(ThrottledTarget(target, RateLimit(0)), name)(*READS[name]))

    assert target.calls == [name]
    assert type(read) is type(asyncio.run(getattr(target, name)(*READS[name])))


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_made_once(name):
    target = FakeTarget() if name == "create" else with_a_model()
    held = next((p.name for p in target.shared.get(NEW.name, {}).values() if p.grant == GRANT), "")
    given = [held if each == HELD else each for each in CHANGES[name]]

    asyncio.run(getattr(ThrottledTarget(target, RateLimit(0)), name)(*given))

    assert target.calls == [name]


def test_calls_come_no_faster_than_the_rate():
    clock = [0.0]

    async def sleep(seconds):
        clock[0] += seconds

    async def calls():
        guarded = ThrottledTarget(with_a_model_in_loop, RateLimit(2, lambda: clock[0], sleep))
        for _ in range(10):
            await guarded.models()
        await guarded.update(NEW.name, {"display_name": "Capitals"})

    with_a_model_in_loop = with_a_model()
    asyncio.run(calls())

    assert clock[0] == pytest.approx(4.5)


def test_an_answer_comes_in_pieces_as_from_the_target():
    async def pieces():
        target = FakeTarget(answers={"models/tiny": {"hello": "how do you do"}})
        guarded = ThrottledTarget(target, RateLimit(0))
        stream = guarded.stream("models/tiny", "hello", GenerationConfig())
        return [answer.text async for answer in stream]

    assert "".join(asyncio.run(pieces())) == "how do you do"


def test_closing_it_leaves_the_target_open():
    target = with_a_model()

    asyncio.run(ThrottledTarget(target, RateLimit(0)).close())

    assert not target.closed


def test_with_a_follower_an_operation_is_looked_at_by_it_alone():
    async def looks():
        target = FakeTarget(looks_until_done=100)
        follower = Poller(target, Timing())
        guarded = ThrottledTarget(target, RateLimit(0), follower)
        made = await guarded.create(NEW)
        seen = [await guarded.operation(made.name) for _ in range(3)]
        await follower.close()
        return seen, target.calls

    seen, calls = asyncio.run(looks())
    assert {each.completed_steps for each in seen} == {0}
    assert calls == ["create"]


def test_who_has_access_is_not_asked_twice_in_a_moment_unless_the_job_changed_it():
    clock = [0.0]
    target = with_a_model()

    async def looks():
        guarded = ThrottledTarget(target, RateLimit(0), now=lambda: clock[0])
        before = [await guarded.permissions(NEW.name) for _ in range(2)]
        await guarded.grant(NEW.name, Grant(Role.READER, email_address="bo@example.com"))
        after = [await guarded.permissions(NEW.name) for _ in range(2)]
        clock[0] += 1.5
        return [*before, *after, await guarded.permissions(NEW.name)]

    seen = asyncio.run(looks())

    assert [len(each) for each in seen] == [2, 2, 3, 3, 3]
    assert target.calls == ["permissions", "grant", "permissions", "permissions"]


class Clock:
    """Stands still; whoever sleeps is noted with the time at which it wakes."""

    def __init__(self):
        self.now = 0.0
        self.wakes: list[float] = []

    async def sleep(self, seconds):
        self.wakes.append(round(self.now + seconds, 6))


def waits(per_second, calls, at=lambda _: 0.0):
    """When the calls that had to wait could go."""

    async def called():
        clock = Clock()
        rate = RateLimit(per_second, lambda: clock.now, clock.sleep)
        for call in range(calls):
            clock.now = at(call)
            await rate()
        return clock.wakes

    return asyncio.run(called())


def test_what_a_second_allows_goes_at_once_and_the_rest_in_step():
    assert waits(4, 7) == [0.25, 0.5, 0.75]


def test_calls_slower_than_the_rate_never_wait():
    assert waits(4, 20, at=lambda call: call * 0.25) == []


def test_a_pause_saves_up_one_second_and_no_more():
    assert waits(2, 6, at=lambda call: 0.0 if call < 2 else 100.0) == [100.5, 101.0]


def test_less_than_one_a_second_lets_the_first_go_at_once():
    assert waits(0.5, 3) == [2.0, 4.0]


def test_without_a_rate_nothing_waits():
    assert waits(0, 1000) == []


class Room:
    """Who is in, who was, and how many at most."""

    def __init__(self, most):
        self.slots = Slots(most)
        self.entered: list[int] = []
        self.inside = self.highest = 0

    async def visit(self, order, stay=3):
        async with self.slots.one(order):
            self.entered.append(order)
            self.inside += 1
            self.highest = max(self.highest, self.inside)
            for _ in range(stay):
                await asyncio.sleep(0)
            self.inside -= 1


def visited(most, orders):
    async def all_of_them():
        room = Room(most)
        await asyncio.gather(*(room.visit(order) for order in orders))
        return room

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("most", [1, 2, 5])
def test_never_more_than_the_limit_and_everybody_in_the_end(most):
    room = visited(most, [0] * 17)

    assert (room.highest, len(room.entered), room.inside) == (most, 17, 0)


def test_without_a_limit_all_go_in():
    assert visited(0, [0] * 9).highest == 9


def test_the_lowest_order_goes_first_however_they_came():
    assert visited(1, [3, 1, 2, 0]).entered == [0, 1, 2, 3]


def test_who_is_cancelled_while_waiting_takes_no_slot():
    async def cancelled():
        room = Room(1)
        first = asyncio.create_task(room.visit(0, stay=10))
        gone = asyncio.create_task(room.visit(1))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(first, gone, room.visit(2), return_exceptions=True)
        return room

    assert asyncio.run(cancelled()).entered == [0, 2]


@pytest.mark.parametrize("passes", range(6))
def test_a_slot_handed_over_at_the_moment_of_cancelling_is_not_lost(passes):
    async def cancelled():
        room = Room(1)
        gone = asyncio.create_task(room.visit(0))
        for _ in range(passes):
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await asyncio.wait_for(room.visit(1), 5)
        return room

    assert asyncio.run(cancelled()).entered[-1] == 1


def test_an_error_inside_gives_the_slot_back():
    async def broken():
        room = Room(1)
        with pytest.raises(ZeroDivisionError):
            async with room.slots.one():
                raise ZeroDivisionError
        await room.visit(7)
        return room

    assert asyncio.run(broken()).entered == [7]
