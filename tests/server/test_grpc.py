"""The gRPC door over a real socket, as a bare stub sees it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.fakes.engine import FakeEngine
from tests.server.room import new_model
from tuner.errors import Unavailable
from tuner.server.app import running
from tuner.server.messages import PACKAGE, GenerateContentResponse, raw
from tuner.server.service import CallTracker
from tuner.server.settings import Settings

pytestmark = pytest.mark.slow


@asynccontextmanager
async def door(folder, engine=None):
    settings = Settings("127.0.0.1:0")
    parts = (settings, engine or FakeEngine(), folder)
    async with running(*parts) as (_, at), grpc.aio.insecure_channel(at.grpc) as channel:
        yield channel


async def send(channel, method, request=b""):
    return await channel.unary_unary(f"/{method}")(request)


async def failure(channel, method, request=b""):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(channel, method, request)
    return caught.value


def details(error, kind):
    found = []
    for each in rpc_status.from_call(error).details:
        message = kind()
        if each.Unpack(message):
            found.append(message)
    return found


def test_bytes_that_are_no_message_are_refused(tmp_path):
    async def go():
        async with door(tmp_path) as channel:
            error = await failure(channel, f"{PACKAGE}.ModelService/GetTunedModel", b"\xff\xff")
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert error.details().startswith("The body is not a google")

    asyncio.run(go())


def test_a_refusal_carries_one_error_info_and_its_fields(tmp_path):
    async def go():
        async with door(tmp_path) as channel:
            request = raw("CreateTunedModelRequest")(**new_model("A", top_p=3))
            method = f"{PACKAGE}.ModelService/CreateTunedModel"
            error = await failure(channel, method, request.SerializeToString())
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert len(details(error, error_details_pb2.ErrorInfo)) == 1
            (bad,) = details(error, error_details_pb2.BadRequest)
            fields = [each.field for each in bad.field_violations]
            assert fields == ["tuned_model_id", "tuned_model.top_p"]

    asyncio.run(go())


def test_a_thousand_wrong_rows_still_make_a_status_that_arrives(tmp_path):
    async def go():
        async with door(tmp_path) as channel:
            request = raw("CreateTunedModelRequest")(**new_model(rows=1000))
            for each in request.tuned_model.tuning_task.training_data.examples.examples:
                each.output = ""
            method = f"{PACKAGE}.ModelService/CreateTunedModel"
            error = await failure(channel, method, request.SerializeToString())
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "and 984 more" in error.details()
            assert len(details(error, error_details_pb2.BadRequest)[0].field_violations) == 16

    asyncio.run(go())


@pytest.mark.parametrize("letter", ["a", "ä", "漢"])
def test_a_refusal_that_quotes_a_long_name_arrives(tmp_path, letter):
    async def go():
        async with door(tmp_path) as channel:
            name = f"models/{letter * 20_000}"
            request = raw("GetModelRequest")(name=name).SerializeToString()
            error = await failure(channel, f"{PACKAGE}.ModelService/GetModel", request)
            assert error.code() == grpc.StatusCode.NOT_FOUND
            assert details(error, error_details_pb2.ErrorInfo)
            requests = [{"model": "models/other"}] * 100
            request = raw("BatchEmbedContentsRequest")(model=name, requests=requests)
            method = f"{PACKAGE}.GenerativeService/BatchEmbedContents"
            error = await failure(channel, method, request.SerializeToString())
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT

    asyncio.run(go())


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (f"{PACKAGE}.GenerativeService/BidiGenerateContent", "live sessions"),
        (f"{PACKAGE}.RetrieverService/CreateCorpus", "corpora"),
        ("any.Service/Method", "any.Service/Method is not offered here"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(tmp_path, method, what):
    async def go():
        async with door(tmp_path) as channel:
            error = await failure(channel, method)
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED
            assert what in error.details()

    asyncio.run(go())


def test_a_bug_gives_an_incident_and_no_traceback(tmp_path, caplog):
    class Broken(FakeEngine):
        async def count_tokens(self, _prompt):
            raise ZeroDivisionError("a secret")

    async def go():
        async with door(tmp_path, Broken()) as channel:
            contents = [{"parts": [{"text": "hi"}]}]
            request = raw("CountTokensRequest")(model="models/tiny", contents=contents)
            method = f"{PACKAGE}.GenerativeService/CountTokens"
            error = await failure(channel, method, request.SerializeToString())
            assert error.code() == grpc.StatusCode.INTERNAL
            assert "secret" not in error.details()
            (incident,) = [each.incident for each in caplog.records if hasattr(each, "incident")]
            assert incident in error.details()

    asyncio.run(go())


def test_a_request_over_the_limit_is_refused(tmp_path):
    async def go():
        async with door(tmp_path) as channel:
            method = f"{PACKAGE}.ModelService/ListModels"
            error = await failure(channel, method, bytes(64 * 1024 * 1024 + 1))
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(go())


def test_a_stream_arrives_while_the_model_still_writes_and_a_hang_up_stops_it(tmp_path):
    class Endless(FakeEngine):
        async def generate(self, prompt):
            try:
                while True:
                    async for piece in super().generate(prompt):
                        yield piece
            finally:
                self.waits.set()

    async def go():
        engine = Endless()
        async with door(tmp_path, engine) as channel:
            contents = [{"parts": [{"text": "one two"}]}]
            request = raw("GenerateContentRequest")(model="models/tiny", contents=contents)
            method = f"/{PACKAGE}.GenerativeService/StreamGenerateContent"
            call = channel.unary_stream(method)(request.SerializeToString())
            chunk = GenerateContentResponse.FromString(await call.read())
            assert chunk.candidates[0].content.parts[0].text == "one "
            call.cancel()
            await engine.waits.wait()

    asyncio.run(go())


def test_a_taken_port_is_told(tmp_path):
    async def go():
        parts = (FakeEngine(), tmp_path / "a")
        async with running(Settings("127.0.0.1:0"), *parts) as (_, at):
            with pytest.raises(Unavailable, match=at.grpc):
                async with running(Settings(at.grpc), FakeEngine(), tmp_path / "b"):
                    pass

    asyncio.run(go())


def test_a_service_is_idle_after_its_time_without_calls_or_work():
    now = [0.0]
    activity = CallTracker(lambda: now[0])
    busy = [True, True, False, False]

    async def is_busy():
        now[0] += 10
        return busy.pop(0)

    asyncio.run(activity.until_idle(0.001, is_busy))
    assert busy == [False]

    async def one_call():
        with activity.call():
            now[0] += 100
            assert activity.idle_s == 0

    asyncio.run(one_call())
    now[0] += 5
    assert activity.idle_s == 5
