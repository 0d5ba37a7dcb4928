"""Bodies that come through the REST door: wrong ones, large ones, and those of strangers."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.server.rest_door import rest
from tuner.server import protojson
from tuner.server import rest as rest_server

pytestmark = pytest.mark.slow


def test_a_body_that_is_wrong_is_refused_with_every_place(tmp_path):
    async def go():
        async with rest(tmp_path) as (_, call):
            url = "/v1beta/tunedModels"
            answer = await call("POST", url, {"colour": 1, "tuningTask": {"shape": 2}})
            paths = [each.get("field", "") for each in _violations(answer)]
            assert (answer.status, paths) == (400, ["tuned_model", "tuned_model.tuning_task"])
            for body in (b"{", b"\xff", b"[]", b"5"):
                assert (await call("POST", url, body)).error["status"] == "INVALID_ARGUMENT"
            zipped = await call("POST", url, b"x", content_encoding="gzip")
            assert "gzip" in zipped.error["message"]

    asyncio.run(go())


def test_who_may_not_ask_is_told_before_the_body_is_read(tmp_path):
    async def go():
        async with rest(tmp_path) as (room, call):
            await room.make_key("ana@example.com")
            assert (await call("POST", "/v1beta/tunedModels", b"{")).status == 401

    asyncio.run(go())


def _violations(answer):
    return answer.error["details"][1]["fieldViolations"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused_without_reading_it_whole(tmp_path, announced):
    async def go():
        async with rest(tmp_path) as (room, call):
            body = b" " * (room.service.limits.message_bytes + 1)
            headers = {"content_length": str(len(body))} if announced else {}
            answer = await call("POST", "/v1beta/models/tiny:countTokens", body, **headers)
            assert answer.error["message"]
            assert answer.status in {400, 429}

    asyncio.run(go())


def test_a_large_body_is_read_beside_the_loop(tmp_path, monkeypatch):
    parse, on_the_loop = protojson.parse, []

    def noting(body):
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        return parse(body)

    monkeypatch.setattr(protojson, "parse", noting)

    async def go():
        async with rest(tmp_path) as (_, call):
            for words in (5, 50_000):
                body = {"contents": [{"parts": [{"text": "word " * words}]}]}
                answer = await call("POST", "/v1beta/models/tiny:countTokens", body)
                assert answer.json["totalTokens"] == words
            assert on_the_loop == [True, False]

    asyncio.run(go())


def test_a_large_answer_is_written_beside_the_loop(tmp_path, monkeypatch):
    dump, on_the_loop = protojson.dump, []

    def noting(message, **how):
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        return dump(message, **how)

    monkeypatch.setattr(protojson, "dump", noting)

    async def go():
        async with rest(tmp_path) as (room, call):
            operation = await room.tuned()
            for most in (rest_server.THREAD_ANSWER_BYTES, operation.ByteSize()):
                monkeypatch.setattr(rest_server, "THREAD_ANSWER_BYTES", most)
                answer = await call("GET", f"/v1beta/{operation.name}")
                assert answer.json["done"]
            assert on_the_loop == [True, False]

    asyncio.run(go())
