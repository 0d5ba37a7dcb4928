"""gRPC as stubs and tools see it: calls, errors, health, reflection, and the same answers as REST."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http.client import HTTPConnection

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status

from tests.fakes.engine import FakeEngine
from tests.server.principals import EMAILS, make_keys, set_up
from tests.server.room import FULL_NAMES, Room, new_model, open_room
from tuner.errors import Unavailable
from tuner.server import access, service
from tuner.server.app import running
from tuner.server.messages import PACKAGE, GenerateContentResponse, raw
from tuner.server.methods import METHODS
from tuner.server.service import CallTracker
from tuner.server.settings import Settings
from tuner.server.store.database import StoreFailed

pytestmark = pytest.mark.slow


@asynccontextmanager
async def grpc_channel(folder, engine=None):
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


async def test_bytes_that_are_not_a_message_are_refused(tmp_path):
    async with grpc_channel(tmp_path) as channel:
        error = await failure(channel, f"{PACKAGE}.ModelService/GetTunedModel", b"\xff\xff")
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert error.details().startswith("The body is not a google")


async def test_a_refusal_carries_one_error_info_and_its_fields(tmp_path):
    async with grpc_channel(tmp_path) as channel:
        request = raw("CreateTunedModelRequest")(**new_model("A", top_p=3))
        method = f"{PACKAGE}.ModelService/CreateTunedModel"
        error = await failure(channel, method, request.SerializeToString())
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert len(details(error, error_details_pb2.ErrorInfo)) == 1
        (bad,) = details(error, error_details_pb2.BadRequest)
        fields = [each.field for each in bad.field_violations]
        assert fields == ["tuned_model_id", "tuned_model.top_p"]


async def test_a_thousand_wrong_rows_still_make_a_status_that_arrives(tmp_path):
    async with grpc_channel(tmp_path) as channel:
        request = raw("CreateTunedModelRequest")(**new_model(rows=1000))
        for each in request.tuned_model.tuning_task.training_data.examples.examples:
            each.output = ""
        method = f"{PACKAGE}.ModelService/CreateTunedModel"
        error = await failure(channel, method, request.SerializeToString())
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "and 984 more" in error.details()
        assert len(details(error, error_details_pb2.BadRequest)[0].field_violations) == 16


@pytest.mark.parametrize("letter", ["a", "ä", "漢"])
async def test_a_refusal_that_quotes_a_long_name_arrives(tmp_path, letter):
    async with grpc_channel(tmp_path) as channel:
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


@pytest.mark.parametrize(
    ("method", "what"),
    [
        (f"{PACKAGE}.GenerativeService/BidiGenerateContent", "live sessions"),
        (f"{PACKAGE}.RetrieverService/CreateCorpus", "corpora"),
        ("any.Service/Method", "any.Service/Method is not offered here"),
    ],
)
async def test_what_is_not_offered_is_refused_by_name(tmp_path, method, what):
    async with grpc_channel(tmp_path) as channel:
        error = await failure(channel, method)
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED
        assert what in error.details()


async def test_a_bug_gives_an_incident_and_no_traceback(tmp_path, caplog):
    class Broken(FakeEngine):
        async def count_tokens(self, _prompt):
            raise ZeroDivisionError("a secret")

    async with grpc_channel(tmp_path, Broken()) as channel:
        contents = [{"parts": [{"text": "hi"}]}]
        request = raw("CountTokensRequest")(model="models/tiny", contents=contents)
        method = f"{PACKAGE}.GenerativeService/CountTokens"
        error = await failure(channel, method, request.SerializeToString())
        assert error.code() == grpc.StatusCode.INTERNAL
        assert "secret" not in error.details()
        (incident,) = [each.incident for each in caplog.records if hasattr(each, "incident")]
        assert incident in error.details()


async def test_a_request_over_the_limit_is_refused(tmp_path):
    async with grpc_channel(tmp_path) as channel:
        method = f"{PACKAGE}.ModelService/ListModels"
        error = await failure(channel, method, bytes(64 * 1024 * 1024 + 1))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_stream_arrives_while_the_model_still_writes_and_a_hang_up_stops_it(tmp_path):
    class Endless(FakeEngine):
        async def generate(self, prompt):
            try:
                while True:
                    async for piece in super().generate(prompt):
                        yield piece
            finally:
                self.waits.set()

    engine = Endless()
    async with grpc_channel(tmp_path, engine) as channel:
        contents = [{"parts": [{"text": "one two"}]}]
        request = raw("GenerateContentRequest")(model="models/tiny", contents=contents)
        method = f"/{PACKAGE}.GenerativeService/StreamGenerateContent"
        call = channel.unary_stream(method)(request.SerializeToString())
        chunk = GenerateContentResponse.FromString(await call.read())
        assert chunk.candidates[0].content.parts[0].text == "one "
        call.cancel()
        await engine.waits.wait()


async def test_a_taken_port_is_reported(tmp_path):
    parts = (FakeEngine(), tmp_path / "a")
    async with running(Settings("127.0.0.1:0"), *parts) as (_, at):
        with pytest.raises(Unavailable, match=at.grpc):
            async with running(Settings(at.grpc), FakeEngine(), tmp_path / "b"):
                pass


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


ANSWER = health_pb2.HealthCheckResponse
SERVING, NOT_SERVING = ANSWER.SERVING, ANSWER.NOT_SERVING


def asked(service=""):
    return health_pb2.HealthCheckRequest(service=service)


async def test_the_service_is_healthy_until_it_stops(tmp_path):
    async with open_room(tmp_path) as room:
        assert await room.service.health_problem() == ""
        await room.service.calls.drain(0)
        assert await room.service.health_problem() == "the service is stopping"


async def test_a_database_that_fails_or_hangs_is_a_problem(tmp_path, monkeypatch):
    async def broken(_work):
        raise StoreFailed("service.db: disk I/O error")

    async def hangs(_work):
        await asyncio.Event().wait()

    async with open_room(tmp_path) as room:
        with monkeypatch.context() as patch:
            patch.setattr(room.service.store, "read", broken)
            assert await room.service.health_problem() == (
                "the database cannot be used; see the log"
            )
        with monkeypatch.context() as patch:
            patch.setattr(room.service.store, "read", hangs)
            patch.setattr(service, "DATABASE_TIMEOUT_S", 0.01)
            assert "does not answer" in await room.service.health_problem()


async def test_health_needs_no_key_and_covers_every_service(tmp_path):
    access.create_key(tmp_path, "ana@example.com")
    async with (
        running(Settings("127.0.0.1:0"), FakeEngine(), tmp_path) as (_, at),
        grpc.aio.insecure_channel(at.grpc) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(asked())).status == SERVING
        assert (await stub.Check(asked(f"{PACKAGE}.ModelService"))).status == SERVING
        told = await stub.List(health_pb2.HealthListRequest())
        assert "google.longrunning.Operations" in told.statuses
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(asked("no.Service"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_health_watch_reports_the_shutdown(tmp_path):
    async with (
        running(Settings("127.0.0.1:0"), FakeEngine(), tmp_path) as (service, at),
        grpc.aio.insecure_channel(at.grpc) as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(asked())
        assert (await watch.read()).status == SERVING
        service.calls.draining.set()
        assert (await watch.read()).status == NOT_SERVING
        assert await watch.read() == grpc.aio.EOF


def with_channel(folder, work):
    """Google's reflection client blocks, so it has a thread beside the service's loop."""

    def connected(address):
        with grpc.insecure_channel(address) as channel:
            return work(channel)

    async def go():
        async with running(Settings("127.0.0.1:0"), FakeEngine(), folder) as (_, at):
            with ThreadPoolExecutor(1) as thread:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(thread, connected, at.grpc)

    return asyncio.run(go())


def test_every_method_is_described_with_its_messages(tmp_path):
    def described(channel):
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        services = map(pool.FindServiceByName, database.get_services())
        return {
            f"{service.full_name}/{method.name}": (method.input_type.full_name, method)
            for service in services
            for method in service.methods
        }

    found = with_channel(tmp_path, described)
    assert set(METHODS) < set(found)
    for name, method in METHODS.items():
        request, told = found[name]
        assert request == method.request.DESCRIPTOR.full_name
        assert told.output_type.full_name == method.response.DESCRIPTOR.full_name
        assert told.server_streaming == method.streams


def test_a_method_can_be_called_through_reflection_alone(tmp_path):
    def called(channel):
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        method = pool.FindServiceByName(f"{PACKAGE}.ModelService").FindMethodByName("GetModel")
        request, response = map(
            message_factory.GetMessageClass, (method.input_type, method.output_type)
        )
        path = f"/{PACKAGE}.ModelService/GetModel"
        call = channel.unary_unary(path, request.SerializeToString, response.FromString)
        return call(request(name="models/tiny")).display_name

    assert with_channel(tmp_path, called) == "Tiny"


def test_the_newer_version_of_reflection_describes_itself(tmp_path):
    def asked(channel):
        request = reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="grpc.reflection.v1.ServerReflection"
        )
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        method = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        answers = next(method(iter([request]))), next(stub.ServerReflectionInfo(iter([request])))
        return [each.file_descriptor_response.file_descriptor_proto for each in answers]

    new, old = with_channel(tmp_path, asked)
    assert new == old
    assert b"grpc.reflection.v1.ServerReflectionRequest" in new[0]


MODEL = "tunedModels/m"
HTTP = {"OK": 200, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}
CALLS = [
    ("GetTunedModel", {"name": MODEL}, ("GET", f"/v1beta/{MODEL}"), "reader"),
    ("ListOperations", {"name": MODEL}, ("GET", f"/v1/{MODEL}/operations"), "reader"),
    ("ListPermissions", {"parent": MODEL}, ("GET", f"/v1beta/{MODEL}/permissions"), "writer"),
    ("DeleteTunedModel", {"name": MODEL}, ("DELETE", f"/v1beta/{MODEL}"), "owner"),
]
RANKS = {"owner": 3, "writer": 2, "group writer": 2, "reader": 1, "group reader": 1, "stranger": 0}
CALLERS = ["no key", "revoked key", "unknown key", *RANKS]


@asynccontextmanager
async def both_servers(folder):
    settings = Settings("127.0.0.1:0", rest="127.0.0.1:0")
    engine = FakeEngine()
    async with (
        running(settings, engine, folder) as (service, at),
        grpc.aio.insecure_channel(at.grpc) as channel,
    ):
        yield Room(service, engine), channel, at.rest


async def by_grpc(channel, key, method, fields):
    """The code, and all that is said about it."""
    call = channel.unary_unary(f"/{FULL_NAMES[method]}")
    metadata = (("x-goog-api-key", key),) if key else ()
    request = METHODS[FULL_NAMES[method]].request(**fields)
    try:
        await call(request.SerializeToString(), metadata=metadata)
    except grpc.aio.AioRpcError as error:
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        return error.code().name, (error.details(), details)
    return "OK", ()


async def by_rest(address, key, verb, path):
    """The same; the key in the URL, as curl users have it."""

    def ask():
        connection = HTTPConnection(address, timeout=20)
        connection.request(verb, f"{path}?key={key}" if key else path)
        response = connection.getresponse()
        body = json.loads(response.read())
        connection.close()
        return response.status, body.get("error", {})

    return await asyncio.to_thread(ask)


def expected(who, needed):
    if who not in RANKS:
        return "UNAUTHENTICATED"
    return "OK" if RANKS[who] >= RANKS[needed] else "PERMISSION_DENIED"


async def test_grpc_and_rest_accept_and_refuse_the_same_callers(tmp_path):
    assert set(RANKS) < {*EMAILS}
    async with both_servers(tmp_path) as (room, channel, address):
        keys = await make_keys(room)
        await set_up(room, "m", "stranger")
        for who in CALLERS:
            for method, fields, route, needed in CALLS:
                if (who, method) == ("owner", "DeleteTunedModel"):
                    continue  # it may, as the matrix at handler level shows
                code = expected(who, needed)
                said, _ = await by_grpc(channel, keys[who], method, fields)
                assert said == code, (who, method)
                status, error = await by_rest(address, keys[who], *route)
                assert (status, error.get("status", "OK")) == (HTTP[code], code), (who, route)


async def test_neither_grpc_nor_rest_shows_a_stranger_whether_a_model_exists(tmp_path):
    async with both_servers(tmp_path) as (room, channel, address):
        stranger = (await make_keys(room))["stranger"]
        await set_up(room, "m", "stranger")

        async def told():
            return [
                answer
                for method, fields, route, _ in CALLS
                for answer in (
                    await by_grpc(channel, stranger, method, fields),
                    await by_rest(address, stranger, *route),
                )
            ]

        hidden = await told()
        await room.call("DeleteTunedModel", name=MODEL)
        assert await told() == hidden
