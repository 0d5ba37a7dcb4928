"""Answers of a real inference process over gRPC: when pieces arrive, and what cancelling stops."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import grpc
import pytest

from tests.engine.places import tiny
from tests.server.handlers.requests import TINY, content
from tuner import engine
from tuner.server.app import running
from tuner.server.messages import PACKAGE, raw
from tuner.server.settings import Settings

pytestmark = pytest.mark.slow
SERVICE = f"/{PACKAGE}.GenerativeService"
Request, Response = raw("GenerateContentRequest"), raw("GenerateContentResponse")


@asynccontextmanager
async def live(folder):
    models = {engine.TINY.name: engine.TINY}
    process = engine.open_engine("process", models, tiny().parent)
    parts = (Settings("127.0.0.1:0", rest=None), process, folder)
    async with running(*parts) as (_, at), grpc.aio.insecure_channel(at.grpc) as channel:
        yield process, channel


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """One service for all: a process that imports torch takes seconds to start."""
    opened = live(tmp_path_factory.mktemp("service"))
    with asyncio.Runner() as runner:
        process, channel = runner.run(opened.__aenter__())
        yield SimpleNamespace(run=runner.run, process=process, channel=channel)
        runner.run(opened.__aexit__(None, None, None))


def stream(channel, **config):
    call = channel.unary_stream(
        f"{SERVICE}/StreamGenerateContent", response_deserializer=Response.FromString
    )
    request = Request(model=TINY, contents=[content("x")], generation_config=config)
    return call(request.SerializeToString())


async def whole(channel, text="x", **config):
    call = channel.unary_unary(
        f"{SERVICE}/GenerateContent", response_deserializer=Response.FromString
    )
    request = Request(model=TINY, contents=[content(text)], generation_config=config)
    response = await call(request.SerializeToString())
    return [each.content.parts[0].text for each in response.candidates]


def test_pieces_arrive_as_they_are_produced_and_cancelling_stops_the_engine(service):
    async def go():
        call = stream(service.channel, max_output_tokens=2000, candidate_count=3)
        first = await call.read()
        assert first.usage_metadata.candidates_token_count < 200  # of 6000 that were request for
        assert len(service.process.inference.child.answers) == 3
        call.cancel()
        async with asyncio.timeout(30):
            while service.process.inference.child.answers:  # noqa: ASYNC110  (no event tells when)
                await asyncio.sleep(0.01)

    service.run(go())


def test_a_seed_gives_the_same_text_beside_other_requests(service):
    async def go():
        config = {"seed": 5, "temperature": 1.0, "max_output_tokens": 24}
        (alone,) = await whole(service.channel, **config)
        others = [whole(service.channel, f"other {n}", max_output_tokens=40) for n in range(8)]
        together = whole(service.channel, **config, candidate_count=3)
        found, *_ = await asyncio.gather(together, *others)
        assert found[0] == alone
        assert len(set(found)) == 3

    service.run(go())


def test_json_follows_the_schema(service):
    async def go():
        digit = {"type_": "INTEGER", "minimum": 0, "maximum": 9}
        schema = {"type_": "ARRAY", "min_items": 1, "max_items": 3, "items": digit}
        config = {"response_mime_type": "application/json", "response_schema": schema}
        pieces = [piece async for piece in stream(service.channel, **config)]
        text = "".join(each.candidates[0].content.parts[0].text for each in pieces)
        numbers = json.loads(text)
        assert 1 <= len(numbers) <= 3
        assert set(numbers) <= set(range(10))
        config["response_schema"] = {"type_": "STRING", "pattern": "(?=a)"}
        with pytest.raises(grpc.aio.AioRpcError, match="look-around") as refused:
            await whole(service.channel, **config)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    service.run(go())


def test_count_tokens_agrees_with_the_usage_of_an_answer(service):
    async def go():
        request = Request(model=TINY, contents=[content("x"), content("y", "model"), content("é")])
        request.system_instruction.parts.add().text = "be brief"
        request.generation_config.max_output_tokens = 1
        answered = await service.channel.unary_unary(
            f"{SERVICE}/GenerateContent", response_deserializer=Response.FromString
        )(request.SerializeToString())
        count = raw("CountTokensRequest")(model=TINY, generate_content_request=request)
        counted = await service.channel.unary_unary(
            f"{SERVICE}/CountTokens",
            response_deserializer=raw("CountTokensResponse").FromString,
        )(count.SerializeToString())
        assert counted.total_tokens == answered.usage_metadata.prompt_token_count > 20
        assert counted.prompt_tokens_details[0].token_count == counted.total_tokens

    service.run(go())
