"""Who is asking: by which key, shown how, and who is nobody."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.server.principals import filled, outcome
from tests.server.room import open_room
from tuner.server.access import identify
from tuner.server.api_errors import ApiError, Code

pytestmark = pytest.mark.slow


def test_without_any_key_everybody_is_the_owner_and_one_key_ends_that(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            await room.tuned()
            await room.call("GetTunedModel", key="whatever", name="tunedModels/m")
            key = await room.make_key("owner@localhost")
            refused = await outcome(room, "GetTunedModel", "", {"name": "tunedModels/m"})
            assert refused.code == Code.UNAUTHENTICATED
            await room.call("GetTunedModel", key=key, name="tunedModels/m")

    asyncio.run(go())


@pytest.mark.parametrize(
    ("metadata", "who"),
    [
        ({"x-goog-api-key": "ANA"}, "ana@x.org"),
        ({"authorization": "Bearer ANA"}, "ana@x.org"),
        ({"authorization": "bearer  ANA"}, "ana@x.org"),
        ({"x-goog-api-key": "ANA", "authorization": "Bearer BO"}, "ana@x.org"),
        ({"x-goog-api-key": "ANA", "authorization": "Bearer ya29.google"}, "ana@x.org"),
        ({"x-goog-api-key": "wrong", "authorization": "Bearer BO"}, None),
        ({"authorization": "Basic ANA"}, None),
        ({"x-goog-api-key": " "}, None),
    ],
)
def test_the_key_comes_by_its_header_or_else_as_a_bearer_token(tmp_path, metadata, who):
    async def go():
        async with open_room(tmp_path) as room:
            keys = {name: await room.make_key(f"{name.lower()}@x.org") for name in ("ANA", "BO")}
            with suppress(ApiError):
                return (await identify(room.service.store, filled(metadata, keys))).email_address

    assert asyncio.run(go()) == who


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1:8080", "origin": "https://evil.example"},
        {"host": "localhost:8080", "sec-fetch-site": "cross-site"},
        {"host": "evil.example:8080"},  # a name that was made to mean this machine
    ],
)
def test_a_web_page_is_not_taken_for_the_owner_of_this_machine(tmp_path, headers):
    async def go():
        async with open_room(tmp_path) as room:
            store = room.service.store
            plain = {"host": "localhost:8080", "sec-fetch-site": "none"}
            assert (await identify(store, plain)).email_address == "owner@localhost"
            with pytest.raises(ApiError, match="web page"):
                await identify(store, headers)
            key = await room.make_key("ana@x.org")
            shown = headers | {"x-goog-api-key": key}
            assert (await identify(store, shown)).email_address == "ana@x.org"

    asyncio.run(go())


def test_a_service_that_others_can_reach_takes_nobody_for_its_owner(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            with pytest.raises(ApiError) as caught:
                await identify(room.service.store, {}, requires_key=True)
            assert caught.value.code == Code.UNAUTHENTICATED

    asyncio.run(go())


def test_no_key_is_stored_anywhere(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            return await room.make_key("ana@x.org")

    key = asyncio.run(go())
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert key[13:].encode() not in stored
    assert key[3:13].encode() in stored
