"""Health over gRPC, as those who watch a service ask for it."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.fakes.engine import FakeEngine
from tests.server.room import open_room
from tuner.server import access, service
from tuner.server.app import running
from tuner.server.messages import PACKAGE
from tuner.server.settings import Settings
from tuner.server.store.database import StoreFailed

ANSWER = health_pb2.HealthCheckResponse
SERVING, NOT_SERVING = ANSWER.SERVING, ANSWER.NOT_SERVING


def asked(service=""):
    return health_pb2.HealthCheckRequest(service=service)


def test_the_service_is_well_until_it_stops_and_says_so(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            assert await room.service.health_problem() == ""
            await room.service.calls.drain(0)
            assert await room.service.health_problem() == "the service is stopping"

    asyncio.run(go())


def test_a_database_that_fails_or_hangs_is_a_problem(tmp_path, monkeypatch):
    async def broken(_work):
        raise StoreFailed("service.db: disk I/O error")

    async def hangs(_work):
        await asyncio.Event().wait()

    async def go():
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

    asyncio.run(go())


@pytest.mark.slow
def test_health_is_told_without_a_key_for_every_service(tmp_path):
    access.create_key(tmp_path, "ana@example.com")

    async def go():
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

    asyncio.run(go())


@pytest.mark.slow
def test_who_watches_hears_of_the_end_first(tmp_path):
    async def go():
        async with (
            running(Settings("127.0.0.1:0"), FakeEngine(), tmp_path) as (service, at),
            grpc.aio.insecure_channel(at.grpc) as channel,
        ):
            watch = health_pb2_grpc.HealthStub(channel).Watch(asked())
            assert (await watch.read()).status == SERVING
            service.calls.draining.set()
            assert (await watch.read()).status == NOT_SERVING
            assert await watch.read() == grpc.aio.EOF

    asyncio.run(go())
