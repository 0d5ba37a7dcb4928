"""A guarded target passes everything on, in its turn, and no change that is not allowed."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from tests.fakes.target import FakeTarget
from tests.fakes.work import WORK, job_of, right_answers
from tuner.errors import Superseded
from tuner.jobs.poller import Poller
from tuner.jobs.runner import Timing
from tuner.jobs.target_pool import RateLimit, ThrottledTarget
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


def superseded():
    raise Superseded("another runner took it over")


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


@pytest.mark.parametrize("name", CHANGES)
def test_no_change_is_made_that_is_not_allowed(name):
    target = with_a_model()
    guarded = ThrottledTarget(target, RateLimit(0), superseded)

    with pytest.raises(Superseded):
        asyncio.run(getattr(guarded, name)(*CHANGES[name]))

    assert target.calls == []


@pytest.mark.parametrize("name", READS)
def test_reading_is_always_allowed_and_gives_what_the_target_gives(name):
    target = with_a_model()

    read = asyncio.run(
        getattr(ThrottledTarget(target, RateLimit(0), superseded), name)(*READS[name])
    )

    assert target.calls == [name]
    assert type(read) is type(asyncio.run(getattr(target, name)(*READS[name])))


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_is_allowed_is_made_once(name):
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
        guarded = ThrottledTarget(target, RateLimit(0), superseded)
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
        guarded = ThrottledTarget(target, RateLimit(0), lambda: None, follower)
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
