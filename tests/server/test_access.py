"""Every method of the table against every kind of caller."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.room import new_model, open_room
from tuner.server.messages import raw
from tuner.server.methods import METHODS
from tuner.server.refusals import Code, Refused
from tuner.server.store import keys as store_keys

pytestmark = pytest.mark.slow

NAME = "tunedModels/NAME"
CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]
PASSAGES = {"passages": [{"id": "1", "content": CONTENTS[0]}]}
REQUESTS = {
    "GetTunedModel": {"name": NAME},
    "UpdateTunedModel": {"tuned_model": {"name": NAME, "description": "d"}},
    "DeleteTunedModel": {"name": NAME},
    "CreatePermission": {
        "parent": NAME,
        "permission": {"grantee_type": "USER", "email_address": "new@x.org", "role": "READER"},
    },
    "GetPermission": {"name": f"{NAME}/permissions/PERMISSION"},
    "ListPermissions": {"parent": NAME},
    "UpdatePermission": {
        "permission": {"name": f"{NAME}/permissions/PERMISSION", "role": "WRITER"}
    },
    "DeletePermission": {"name": f"{NAME}/permissions/PERMISSION"},
    "TransferOwnership": {"name": NAME, "email_address": "new@x.org"},
    "GenerateContent": {"model": NAME, "contents": CONTENTS},
    "StreamGenerateContent": {"model": NAME, "contents": CONTENTS},
    "CountTokens": {"model": NAME, "contents": CONTENTS},
    "GenerateAnswer": {
        "model": NAME,
        "contents": CONTENTS,
        "inline_passages": PASSAGES,
        "answer_style": "VERBOSE",
    },
    "GetOperation": {"name": "OPERATION"},
    "ListOperations": {"name": NAME},
    "WaitOperation": {"name": "OPERATION"},
    "CancelOperation": {"name": "OPERATION"},
    "DeleteOperation": {"name": "OPERATION"},
    "CreateTunedModel": {},  # made by request_for
}
OPEN = {"ListModels", "GetModel", "ListTunedModels"}
EMBEDS = {"EmbedContent", "BatchEmbedContents"}  # tuned models do not
READS = {
    *("GetTunedModel", "GenerateContent", "StreamGenerateContent", "CountTokens"),
    *("GenerateAnswer", "GetOperation", "ListOperations", "WaitOperation", "CreateTunedModel"),
}
OWNS = {"DeleteTunedModel", "TransferOwnership"}
WRITES = set(REQUESTS) - READS - OWNS
MAY = {
    "owner": READS | WRITES | OWNS,
    "writer": READS | WRITES,
    "reader": READS,
    "group reader": READS,
    "everyone": READS,
    "stranger": set(),
    "no key": set(),
    "revoked key": set(),
    "wrong key": set(),
}
EMAILS = {
    "owner": "owner@x.org",
    "writer": "Writer@X.org",
    "reader": "reader@x.org",
    "group reader": "member@x.org",
    "everyone": "anybody@x.org",
    "stranger": "stranger@x.org",
}


async def make_keys(room):
    keys = {name: await room.make_key(email) for name, email in EMAILS.items()}
    await room.make_group("team@x.org", "member@x.org")
    keys |= {"no key": "", "wrong key": keys["owner"][:-1] + "!"}
    keys["revoked key"] = await room.make_key("owner@x.org")
    await room.service.store.write(store_keys.revoke, keys["revoked key"][3:13], 1)
    room.key = keys["owner"]
    return keys


async def set_up(room, model_id, who):
    """A finished model of the owner's, shared; what to put for the capitals in REQUESTS."""
    operation = await room.tuned(model_id)
    grants = [("USER", "writer@x.org", "WRITER"), ("USER", "reader@x.org", "READER")]
    grants.append(("GROUP", "team@x.org", "READER"))
    grants += [("EVERYONE", None, "READER")] if who == "everyone" else []
    for kind, email, role in grants:
        permission = {"grantee_type": kind, "email_address": email, "role": role}
        parent = f"tunedModels/{model_id}"
        made = await room.call("CreatePermission", parent=parent, permission=permission)
    permission = made.name.rpartition("/")[2]
    return {"NAME": model_id, "OPERATION": operation.name, "PERMISSION": permission}


def filled(value, names):
    if isinstance(value, dict):
        return {key: filled(each, names) for key, each in value.items()}
    if isinstance(value, str):
        for sign, name in names.items():
            value = value.replace(sign, name)
    return value


def request_for(name, names):
    if name == "CreateTunedModel":
        source = {"tuned_model": f"tunedModels/{names['NAME']}"}
        return new_model(None, tuned_model_source=source)
    return filled(REQUESTS[name], names)


async def outcome(room, method_name, key, fields):
    try:
        await room.call(method_name, key=key, **fields)
    except Refused as refused:
        return refused
    return None


def test_the_matrix_knows_every_method():
    assert {method.short_name for method in METHODS.values()} == {*REQUESTS, *OPEN, *EMBEDS}


@pytest.mark.parametrize("who", MAY)
def test_a_caller_may_do_what_the_role_says_and_nothing_else(tmp_path, who):
    async def go():
        async with open_room(tmp_path) as room:
            key = (await make_keys(room))[who]
            names = await set_up(room, "m", who)
            for at, name in enumerate(REQUESTS):
                check(name, await outcome(room, name, key, request_for(name, names)))
                if name in MAY[who] - READS:  # it changed the model
                    names = await set_up(room, f"m{at}", who)

    def check(name, refused):
        if name in MAY[who]:
            assert refused is None, (name, refused)
        elif "key" in who:
            assert refused.code == Code.UNAUTHENTICATED, name
        else:
            assert refused.code == Code.PERMISSION_DENIED, name
            is_hidden = "or it may not exist" in refused.message
            assert is_hidden == (who == "stranger"), name

    asyncio.run(go())


def with_key(requests, key):
    return [(name, key, fields) for name, fields in requests.items()]


def test_what_is_hidden_and_what_does_not_exist_give_the_same_answer(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            stranger = (await make_keys(room))["stranger"]
            names = await set_up(room, "m", "stranger")
            requests = {name: request_for(name, names) for name in REQUESTS}
            hidden = [await outcome(room, *each) for each in with_key(requests, stranger)]
            await room.call("DeleteTunedModel", name="tunedModels/m")
            missing = [await outcome(room, *each) for each in with_key(requests, stranger)]
            assert [(each.code, each.message) for each in hidden] == [
                (each.code, each.message) for each in missing
            ]

    asyncio.run(go())


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


def test_a_key_can_come_as_a_bearer_token(tmp_path):
    from tuner.server.identity import identify

    async def go():
        async with open_room(tmp_path) as room:
            key = await room.make_key("ana@x.org")
            caller = await identify(room.service.store, {"authorization": f"Bearer {key}"})
            assert caller.email_address == "ana@x.org"

    asyncio.run(go())


def test_no_key_is_stored_anywhere(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            return await room.make_key("ana@x.org")

    key = asyncio.run(go())
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert key[13:].encode() not in stored
    assert key[3:13].encode() in stored


def test_an_empty_name_is_refused_by_its_form(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            refused = await outcome(room, "GetTunedModel", "", {"name": ""})
            assert refused.code == Code.INVALID_ARGUMENT
            assert refused.violations[0].field == "name"
            refused = await outcome(room, "ListPermissions", "", {"parent": "corpora/c"})
            assert refused.code == Code.UNIMPLEMENTED

    asyncio.run(go())


def test_the_request_classes_are_those_the_clients_send():
    assert METHODS["google.ai.generativelanguage.v1beta.ModelService/GetModel"].request is raw(
        "GetModelRequest"
    )
