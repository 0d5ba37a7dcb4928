"""Every method of the table against every kind of caller."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.principals import (
    EMBEDS,
    MAY,
    OPEN,
    READS,
    REQUESTS,
    make_keys,
    outcome,
    request_for,
    set_up,
)
from tests.server.room import open_room, refusal
from tuner.server.api_errors import Code, to_status
from tuner.server.messages import raw
from tuner.server.methods import METHODS

pytestmark = pytest.mark.slow


def test_the_matrix_knows_every_method():
    assert {method.short_name for method in METHODS.values()} == set(REQUESTS)


@pytest.mark.parametrize("who", MAY)
def test_a_caller_may_do_what_the_role_says_and_nothing_else(tmp_path, who):
    async def go():
        async with open_room(tmp_path) as room:
            key = (await make_keys(room))[who]
            names = await set_up(room, "m", who)
            for at, name in enumerate(REQUESTS):
                check(name, await outcome(room, name, key, request_for(name, names)))
                if name in MAY[who] - READS - OPEN:  # it changed the model
                    names = await set_up(room, f"m{at}", who)

    def check(name, refused):
        if name in MAY[who] & EMBEDS:
            assert refused.code == Code.INVALID_ARGUMENT, name
        elif name in MAY[who]:
            assert refused is None, (name, refused)
        elif "key" in who:
            assert refused.code == Code.UNAUTHENTICATED, name
        else:
            assert refused.code == Code.PERMISSION_DENIED, name
            is_hidden = "or it may not exist" in refused.message
            assert is_hidden == (who == "stranger"), name

    asyncio.run(go())


def test_what_is_hidden_and_what_does_not_exist_give_the_same_bytes(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            stranger = (await make_keys(room))["stranger"]
            names = await set_up(room, "m", "stranger")
            requests = [(name, request_for(name, names)) for name in REQUESTS]
            requests += [
                ("ListOperations", {"name": f"{names['MODEL']}/operations", "page_token": "x"}),
                ("ListOperations", {"name": "tunedModels/-", "filter": "done=true"}),
                ("CancelOperation", {"name": names["MODEL"]}),
                ("ListTunedModels", {"filter": "m readers:me"}),
                ("ListTunedModels", {"filter": "readers:everyone"}),
                ("GetPermission", {"name": f"{names['MODEL']}/permissions/none"}),
                ("CreatePermission", {"parent": names["MODEL"]}),
                ("UpdateTunedModel", {"tuned_model": {"name": names["MODEL"], "top_p": 9}}),
            ]
            hidden = [await said(room, name, stranger, fields) for name, fields in requests]
            await room.call("DeleteTunedModel", name=names["MODEL"])
            missing = [await said(room, name, stranger, fields) for name, fields in requests]
            for (name, _), one, other in zip(requests, hidden, missing, strict=True):
                assert one == other, name

    asyncio.run(go())


def test_an_empty_name_is_refused_by_its_form(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            refused = await outcome(room, "GetTunedModel", "", {"name": ""})
            assert refused.code == Code.INVALID_ARGUMENT
            assert refused.violations[0].field == "name"
            refused = await outcome(room, "ListPermissions", "", {"parent": "corpora/c"})
            assert refused.code == Code.UNIMPLEMENTED

    asyncio.run(go())


def test_a_name_longer_than_any_is_refused_before_anything_remembers_it(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            for name in (f"tunedModels/{'a' * 256}", f"tunedModels/m/operations/{'a' * 256}"):
                refused = await refusal(room, "CancelOperation", name=name)
                assert refused.code == Code.INVALID_ARGUMENT

    asyncio.run(go())


def test_the_request_classes_are_those_the_clients_send():
    assert METHODS["google.ai.generativelanguage.v1beta.ModelService/GetModel"].request is raw(
        "GetModelRequest"
    )


async def said(room, method_name, key, fields):
    """The bytes of the status, or of the answer; what is random in a new model's aside."""
    refused = await outcome(room, method_name, key, fields)
    if refused is not None:
        return to_status(refused).SerializeToString(deterministic=True)
    answer = await room.call(method_name, key=key, **fields)
    return answer.SerializeToString(deterministic=True)
