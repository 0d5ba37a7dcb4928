"""How the calls in flight end when the service does."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.engine import FakeEngine
from tests.server.room import open_room, refusal
from tuner.server.api_errors import ApiError, Code

pytestmark = pytest.mark.slow

PROMPT = {"model": "models/tiny", "contents": [{"parts": [{"text": "one two"}]}]}


class Stuck(FakeEngine):
    """Writes its first word and stops until it is let go."""

    async def generate(self, prompt):
        async for piece in super().generate(prompt):
            yield piece
            self.waits.set()
            await self.go_on.wait()


def test_calls_in_flight_end_by_themselves_and_new_ones_are_refused(tmp_path):
    async def go():
        engine = Stuck()
        async with open_room(tmp_path, engine) as room:
            call = asyncio.create_task(room.call("GenerateContent", **PROMPT))
            await engine.waits.wait()
            drained = asyncio.create_task(room.service.calls.drain(60))
            await asyncio.sleep(0)
            assert (await refusal(room, "ListModels")).code == Code.UNAVAILABLE
            assert not drained.done()
            engine.go_on.set()
            assert (await call).candidates[0].content.parts[0].text == "one two"
            await drained

    asyncio.run(go())


def test_calls_that_outlive_the_grace_tell_that_the_service_is_gone(tmp_path):
    async def go():
        engine = Stuck()
        async with open_room(tmp_path, engine) as room:
            calls = [
                asyncio.create_task(room.call(method, **PROMPT))
                for method in ("GenerateContent", "StreamGenerateContent")
            ]
            await engine.waits.wait()
            await room.service.calls.drain(0)
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert [(type(end), end.code) for end in ends] == [(ApiError, Code.UNAVAILABLE)] * 2
            assert ends[0].retry_after_s is not None
            assert room.service.calls.in_flight == 0

    asyncio.run(go())


def test_a_service_without_calls_stops_at_once(tmp_path):
    async def go():
        async with open_room(tmp_path) as room, asyncio.timeout(1):
            await room.service.calls.drain(60)

    asyncio.run(go())


def test_a_wait_for_an_operation_does_not_hold_the_end_up(tmp_path):
    async def go():
        engine = FakeEngine(stop_at=1)
        async with open_room(tmp_path, engine) as room, asyncio.timeout(30):
            operation = await room.create()
            await engine.waits.wait()
            wait = asyncio.create_task(room.call("WaitOperation", name=operation.name))
            await room.until(operation.name, lambda found: found.HasField("metadata"))
            await room.service.calls.drain(60)
            assert not (await wait).done

    asyncio.run(go())
