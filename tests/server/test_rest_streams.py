"""Streams through the REST door: their framing, their pace, and how they end."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from tests.fakes.engine import FakeEngine
from tests.server.rest_door import HI, rest
from tuner.engine import EngineError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("alt", "first", "between", "last"),
    [("json", b"[", b",\r\n", b"]"), ("sse", b"data: ", b"\r\n\r\ndata: ", b"\r\n\r\n")],
)
def test_a_stream_is_framed_as_its_clients_want_it(tmp_path, alt, first, between, last):
    async def go():
        async with rest(tmp_path) as (_, call):
            url = f"/v1beta/models/tiny:streamGenerateContent?alt={alt}"
            answer = await call("POST", url, HI)
            assert answer.body.startswith(first)
            assert answer.body.endswith(last)
            parts = answer.body.removeprefix(first).removesuffix(last).split(between)
            texts = [orjson.loads(each)["candidates"][0]["content"]["parts"] for each in parts]
            assert texts == [[{"text": "one "}], [{"text": "two "}], [{"text": "three"}]]
            assert "content-length" not in answer.headers

    asyncio.run(go())


@pytest.mark.parametrize("alt", ["json", "sse"])
def test_each_piece_of_a_stream_is_sent_before_the_next_is_made(tmp_path, alt):
    made, sent = [], []

    class Watched(FakeEngine):
        async def generate(self, prompt):
            async for piece in super().generate(prompt):
                made.append(len(sent))
                yield piece

    async def note(chunk):
        sent.append(chunk)

    async def go():
        async with rest(tmp_path, Watched()) as (_, call):
            url = f"/v1beta/models/tiny:streamGenerateContent?alt={alt}"
            await call("POST", url, HI, on_chunk=note)
            assert made == [0, 1, 2]

    asyncio.run(go())


class Failing(FakeEngine):
    """Says ``words`` words, then fails."""

    words = 1

    async def generate(self, prompt):
        async for piece in super().generate(prompt):
            if self.words == 0:
                raise EngineError("the worker died")
            self.words -= 1
            yield piece


def test_a_stream_that_fails_midway_ends_with_the_error(tmp_path):
    async def go():
        async with rest(tmp_path, Failing()) as (_, call):
            answer = await call("POST", "/v1beta/models/tiny:streamGenerateContent", HI)
            first, error = answer.json
            assert (answer.status, error["error"]["code"]) == (200, 503)
            assert first["candidates"]
        async with rest(tmp_path, Failing()) as (_, call):
            answer = await call("POST", "/v1beta/models/tiny:streamGenerateContent?alt=sse", HI)
            last = answer.body.removesuffix(b"\r\n\r\n").rpartition(b"data: ")[2]
            assert orjson.loads(last)["error"]["status"] == "UNAVAILABLE"

    asyncio.run(go())


def test_a_stream_cut_off_in_the_middle_of_a_write_says_that_the_service_stops(tmp_path):
    async def go():
        writes, sent = asyncio.Event(), []

        async def stuck_at_second(chunk):
            sent.append(chunk)
            if len(sent) == 2:
                writes.set()
                await asyncio.Event().wait()

        async with rest(tmp_path) as (room, call), asyncio.timeout(30):
            url = "/v1beta/models/tiny:streamGenerateContent"
            asking = asyncio.create_task(call("POST", url, HI, on_chunk=stuck_at_second))
            await writes.wait()
            await room.service.calls.drain(0)
            *_, last = (await asking).json
            assert last["error"]["status"] == "UNAVAILABLE"

    asyncio.run(go())


@pytest.mark.parametrize("alt", ["json", "sse"])
def test_a_stream_that_fails_at_once_is_a_plain_error(tmp_path, alt):
    async def go():
        engine = Failing()
        engine.words = 0
        async with rest(tmp_path, engine) as (_, call):
            url = f"/v1beta/models/tiny:streamGenerateContent?alt={alt}"
            answer = await call("POST", url, HI)
            assert (answer.status, answer.error["status"]) == (503, "UNAVAILABLE")
            wrong = await call("POST", url, {"contents": []})
            assert wrong.status == 400

    asyncio.run(go())


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent"])
def test_the_model_stops_writing_when_its_caller_hangs_up(tmp_path, method):
    class Endless(FakeEngine):
        async def generate(self, prompt):
            try:
                while True:
                    async for piece in super().generate(prompt):
                        self.waits.set()
                        yield piece
            finally:
                self.go_on.set()

    async def go():
        engine = Endless()
        async with rest(tmp_path, engine) as (room, call):
            await call("POST", f"/v1beta/models/tiny:{method}", HI, hang_up=engine.waits)
            await engine.go_on.wait()
            assert room.service.calls.in_flight == 0

    asyncio.run(go())
