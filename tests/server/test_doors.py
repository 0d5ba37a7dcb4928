"""The same callers through each door: who is told what does not depend on how they came."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from http.client import HTTPConnection

import grpc
import pytest

from tests.fakes.engine import FakeEngine
from tests.server.principals import EMAILS, make_keys, set_up
from tests.server.room import FULL_NAMES, Room
from tuner.server.app import running
from tuner.server.methods import METHODS
from tuner.server.settings import Settings

pytestmark = pytest.mark.slow

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
async def doors(folder):
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


def test_both_doors_let_in_and_turn_away_the_same_callers(tmp_path):
    async def go():
        async with doors(tmp_path) as (room, channel, address):
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

    assert set(RANKS) < {*EMAILS}
    asyncio.run(go())


def test_a_stranger_learns_from_neither_door_whether_a_model_exists(tmp_path):
    async def go():
        async with doors(tmp_path) as (room, channel, address):
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

    asyncio.run(go())
