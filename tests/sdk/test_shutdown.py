"""SIGTERM with streams in flight through both doors: everybody is told, and nothing breaks."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
from contextlib import closing

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.sdk.process import serving
from tuner.server.messages import PACKAGE, raw

pytestmark = pytest.mark.slow
# Seeded answers are made one by one: eight of them outlast every test.
ENDLESS = {"max_output_tokens": 2000, "candidate_count": 8, "seed": 1}
CONTENTS = [{"parts": [{"text": "Never stop."}]}]
STREAM = f"/{PACKAGE}.GenerativeService/StreamGenerateContent"


def never_ending():
    return raw("GenerateContentRequest")(
        model="models/tiny", contents=CONTENTS, generation_config=ENDLESS
    )


async def over_grpc(channel, service):
    """Read a stream, stop the service at its first message, and go on to the end."""
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    call = channel.unary_stream(STREAM)(never_ending().SerializeToString())
    assert await call.read()
    service.process.send_signal(signal.SIGTERM)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary(f"/{PACKAGE}.ModelService/ListModels")(b"")
    return refused.value, await cut_off(call)


async def cut_off(call):
    try:
        while await call.read() != grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the stream ended as if it were whole")


def connected(service):
    return closing(http.client.HTTPConnection(service.addresses()["rest"]))


def over_rest(link):
    body = json.dumps({"contents": CONTENTS, "generation_config": ENDLESS})
    link.request("POST", "/v1beta/models/tiny:streamGenerateContent", body)
    answer = link.getresponse()
    return answer.read1(), answer


def test_streams_in_flight_are_cut_off_after_the_grace_and_say_so(tmp_path):
    with serving(tmp_path / "home", "--grace", "0.3") as service, connected(service) as link:
        first, answer = over_rest(link)

        async def go():
            async with grpc.aio.insecure_channel(service.address) as channel:
                return await over_grpc(channel, service)

        refused, cut = asyncio.run(go())
        assert refused.code() == grpc.StatusCode.UNAVAILABLE
        assert cut.code() == grpc.StatusCode.UNAVAILABLE
        assert "The service is stopping" in cut.details()
        *_, last = json.loads(first + answer.read())
        assert last["error"]["status"] == "UNAVAILABLE"
        said = service.process.stderr.read()
        assert service.process.wait() == 0
        events = [json.loads(line) for line in said.splitlines()]
        assert not [each for each in events if each["level"] in {"warning", "error"}]
        assert not (service.home / "service" / "address.json").exists()


def test_a_second_signal_ends_a_service_at_once(tmp_path):
    with serving(tmp_path / "home", "--grace", "60") as service, connected(service) as link:
        over_rest(link)
        service.process.send_signal(signal.SIGTERM)
        while (service.home / "service" / "address.json").exists():
            service.process.poll()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=10) == -signal.SIGTERM
