"""The limits of one caller, and how calls end when the service stops."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.fakes.engine import FakeEngine
from tests.server.room import new_model, open_room, refusal
from tuner.server.access import Caller
from tuner.server.api_errors import ApiError, Code, to_status
from tuner.server.app import running
from tuner.server.messages import PACKAGE, raw
from tuner.server.service import CallTracker, queue_full
from tuner.server.settings import MEBIBYTE, Limits, Settings

pytestmark = pytest.mark.slow


ANA, BO = Caller("ana@x.org", key_id="a"), Caller("bo@x.org", key_id="b")


def limited(room, **changes):
    room.service = replace(room.service, limits=Limits(**changes))


def detail(status, kind):
    for each in status.details:
        message = kind()
        if each.Unpack(message):
            return message
    raise AssertionError(f"no {kind.DESCRIPTOR.name}")


def test_a_refusal_says_whose_limit_it_is_and_when_to_come_again():
    refused = queue_full(ANA, 7)
    status = to_status(refused)
    assert status.code == Code.RESOURCE_EXHAUSTED
    (violation,) = detail(status, error_details_pb2.QuotaFailure).violations
    assert violation.subject == "key:a"
    assert "7 tunings" in violation.description
    assert detail(status, error_details_pb2.RetryInfo).retry_delay.seconds == 60
    assert "--max-queued" in status.message


def test_calls_in_flight_are_counted_by_key_and_given_back():
    in_flight = CallTracker()
    with in_flight.limited(ANA, 2), in_flight.limited(ANA, 2), in_flight.limited(BO, 2):
        with (
            pytest.raises(ApiError, match="2 calls are in flight") as caught,
            in_flight.limited(ANA, 2),
        ):
            pass
        assert caught.value.retry_after_s == 1
    with in_flight.limited(ANA, 1):
        pass


async def test_a_key_that_waits_with_all_its_calls_leaves_the_others_in_peace(tmp_path):
    async with open_room(tmp_path, FakeEngine(stop_at=1)) as room:
        ana, bo = await room.make_key("ana@x.org"), await room.make_key("bo@x.org")
        room.key = ana
        operation = await room.create()
        limited(room, in_flight=2)
        wait = [room.call("WaitOperation", name=operation.name) for _ in range(2)]
        waits = [asyncio.create_task(each) for each in wait]
        while room.service.calls._by_key.total() < 2:
            await room.service.store.wait_for_write(0.01)
        refused = await refusal(room, "ListModels")
        assert (refused.code, refused.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        await room.call("ListModels", key=bo)
        waits[0].cancel()  # as when a caller hangs up
        await asyncio.wait(waits[:1])
        await room.call("ListModels")
        room.engine.go_on.set()
        await waits[1]


async def test_a_full_queue_is_told_before_anything_is_made_and_has_room_when_a_tuning_ends(
    tmp_path,
):
    async with open_room(tmp_path, FakeEngine(stop_at=1)) as room:
        room.key = await room.make_key("ana@x.org")
        bo = await room.make_key("bo@x.org")
        limited(room, queued=2)
        first = await room.create("m0")
        await room.create("m1")
        fields = new_model("m2")
        refused = await refusal(room, "CreateTunedModel", **fields)
        assert (refused.code, refused.reason) == (Code.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        hidden = await refusal(room, "GetTunedModel", name="tunedModels/m2")
        assert hidden.code == Code.PERMISSION_DENIED
        # Who asks again for what is there is told so, room or not.
        again = await refusal(room, "CreateTunedModel", **new_model("m1"))
        assert again.code == Code.ALREADY_EXISTS
        # To hand a waiting one over is no way round it, and costs the new owner nothing.
        await room.call("TransferOwnership", name="tunedModels/m1", email_address="bo@x.org")
        refused = await refusal(room, "CreateTunedModel", **fields)
        assert refused.reason == "QUEUE_FULL"
        for model_id in ("b0", "b1"):
            await room.call("CreateTunedModel", key=bo, **new_model(model_id))
        await room.call("CancelOperation", name=first.name)
        await room.create("m2")


def test_a_request_that_is_too_large_is_told_the_limit_with_details(tmp_path):
    settings = Settings("127.0.0.1:0", limits=Limits(message_bytes=MEBIBYTE))

    async def go():
        opened = running(settings, FakeEngine(), tmp_path)
        async with opened as (_, at), grpc.aio.insecure_channel(at.grpc) as channel:
            create = channel.unary_unary(
                f"/{PACKAGE}.ModelService/CreateTunedModel",
                raw("CreateTunedModelRequest").SerializeToString,
            )
            request = raw("CreateTunedModelRequest")(**new_model())
            request.tuned_model.description = "x" * (MEBIBYTE + 1)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await create(request)
            return caught.value

    error = asyncio.run(go())
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1048576 bytes are the limit" in error.details()
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    assert detail(status, error_details_pb2.RetryInfo).retry_delay.seconds > 0


PROMPT = {"model": "models/tiny", "contents": [{"parts": [{"text": "one two"}]}]}


class Stuck(FakeEngine):
    """Writes its first word and stops until it is let go."""

    async def generate(self, prompt):
        async for piece in super().generate(prompt):
            yield piece
            self.waits.set()
            await self.go_on.wait()


async def test_calls_in_flight_end_by_themselves_and_new_ones_are_refused(tmp_path):
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


async def test_calls_that_outlive_the_grace_tell_that_the_service_is_gone(tmp_path):
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


async def test_a_service_without_calls_stops_at_once(tmp_path):
    async with open_room(tmp_path) as room, asyncio.timeout(1):
        await room.service.calls.drain(60)


async def test_a_wait_for_an_operation_does_not_hold_the_end_up(tmp_path):
    engine = FakeEngine(stop_at=1)
    async with open_room(tmp_path, engine) as room, asyncio.timeout(30):
        operation = await room.create()
        await engine.waits.wait()
        wait = asyncio.create_task(room.call("WaitOperation", name=operation.name))
        await room.until(operation.name, lambda found: found.HasField("metadata"))
        await room.service.calls.drain(60)
        assert not (await wait).done
