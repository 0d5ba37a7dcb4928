"""The REST door over a real socket, beside the gRPC door."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from contextlib import asynccontextmanager, closing

import pytest

from tests.fakes.engine import FakeEngine
from tests.server.rest_door import HI
from tuner.errors import Unavailable
from tuner.server import rest
from tuner.server.app import running
from tuner.server.settings import Settings

pytestmark = pytest.mark.slow

STREAM = "/v1beta/models/tiny:streamGenerateContent?alt=sse"


@asynccontextmanager
async def door(folder, engine=None):
    settings = Settings("127.0.0.1:0", "127.0.0.1:0")
    async with running(settings, engine or FakeEngine(), folder) as (_, at):
        yield at.rest


def connect(address):
    host, _, port = address.rpartition(":")
    return closing(http.client.HTTPConnection(host, int(port), timeout=10))


def test_many_requests_go_over_one_connection(tmp_path):
    def talk(address):
        with connect(address) as connection:
            for _ in range(3):
                connection.request("GET", "/v1beta/models")
                with connection.getresponse() as answer:
                    assert answer.status == 200
                    assert json.load(answer)["models"]
                    assert answer.getheader("server") is None
            mine = connection.sock.getsockname()
            connection.request("HEAD", "/v1beta/models")
            with connection.getresponse() as answer:
                assert answer.read() == b""
            assert connection.sock.getsockname() == mine

    async def go():
        async with door(tmp_path) as address:
            await asyncio.to_thread(talk, address)

    asyncio.run(go())


def test_a_taken_port_is_told_with_a_way_out(tmp_path):
    async def go():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            settings = Settings("127.0.0.1:0", address)
            with pytest.raises(Unavailable, match=address) as caught:
                async with running(settings, FakeEngine(), tmp_path):
                    pass
            assert "--rest" in caught.value.fix

    asyncio.run(go())


class Endless(FakeEngine):
    """Writes until it is stopped."""

    async def generate(self, prompt):
        try:
            while True:
                async for piece in super().generate(prompt):
                    yield piece
        finally:
            self.waits.set()


def test_a_stream_arrives_while_the_model_still_writes_and_a_hang_up_stops_it(tmp_path):
    def first_line(address):
        with connect(address) as connection:
            connection.request("POST", STREAM, json.dumps(HI))
            return connection.getresponse().readline()

    async def go():
        engine = Endless()
        async with door(tmp_path, engine) as address:
            line = await asyncio.to_thread(first_line, address)
            assert json.loads(line.removeprefix(b"data: "))["candidates"]
            await engine.waits.wait()

    asyncio.run(go())


def test_bytes_that_are_no_http_are_refused_and_the_door_stays_open(tmp_path):
    def talk(address):
        for sent in (
            b"\x16\x03\x01\x00\xa5\x01",
            b"GET /\xff HTTP/1.1\r\n\r\n",
            b"nonsense\r\n\r\n",
        ):
            with socket.create_connection(address.split(":"), timeout=10) as raw:
                raw.sendall(sent)
                assert raw.recv(100).startswith(b"HTTP/1.1 400")
        with connect(address) as connection:
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b"ok\n"

    async def go():
        async with door(tmp_path) as address:
            await asyncio.to_thread(talk, address)

    asyncio.run(go())


def test_a_head_without_an_end_is_cut_off(tmp_path):
    def talk(address):
        with socket.create_connection(address.split(":"), timeout=10) as raw:
            raw.sendall(b"GET /healthz HTTP/1.1\r\n")
            with pytest.raises(OSError, match=r"reset|pipe"):
                raw.sendall(b"a: " + b"x" * 2**26)
        with connect(address) as connection:
            padding = {"x-padding": "x" * 60_000}
            connection.request("GET", "/healthz", headers=padding)
            assert connection.getresponse().read() == b"ok\n"

    async def go():
        async with door(tmp_path) as address:
            await asyncio.to_thread(talk, address)

    asyncio.run(go())


WHOLE = b"GET /healthz HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", WHOLE + b"GET / HTTP/1.1\r\na: b\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(tmp_path, monkeypatch, sent):
    def talk(address):
        with socket.create_connection(address.split(":"), timeout=10) as raw:
            raw.sendall(sent)
            said = raw.makefile("rb").read()
            assert said.endswith(b"ok\n") if WHOLE in sent else said == b""

    async def go():
        async with door(tmp_path) as address:
            await asyncio.to_thread(talk, address)

    monkeypatch.setattr(rest, "HEADERS_TIMEOUT_S", 0.1)
    asyncio.run(go())
