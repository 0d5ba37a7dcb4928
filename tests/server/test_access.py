"""API keys, groups and roles: who a caller is and which methods the caller may use."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing, suppress

import pytest

from tests.server.principals import (
    EMBEDS,
    MAY,
    OPEN,
    READS,
    REQUESTS,
    filled,
    make_keys,
    outcome,
    request_for,
    set_up,
)
from tests.server.room import open_room, refusal
from tuner.__main__ import run
from tuner.server import access
from tuner.server.access import identify
from tuner.server.api_errors import ApiError, Code, to_status
from tuner.server.messages import raw
from tuner.server.methods import METHODS
from tuner.server.store import open_store, permissions

pytestmark = pytest.mark.slow


async def test_without_any_key_everybody_is_the_owner_and_one_key_ends_that(tmp_path):
    async with open_room(tmp_path) as room:
        await room.tuned()
        await room.call("GetTunedModel", key="whatever", name="tunedModels/m")
        key = await room.make_key("owner@localhost")
        refused = await outcome(room, "GetTunedModel", "", {"name": "tunedModels/m"})
        assert refused.code == Code.UNAUTHENTICATED
        await room.call("GetTunedModel", key=key, name="tunedModels/m")


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
async def test_a_web_page_is_not_taken_for_the_owner_of_this_machine(tmp_path, headers):
    async with open_room(tmp_path) as room:
        store = room.service.store
        plain = {"host": "localhost:8080", "sec-fetch-site": "none"}
        assert (await identify(store, plain)).email_address == "owner@localhost"
        with pytest.raises(ApiError, match="web page"):
            await identify(store, headers)
        key = await room.make_key("ana@x.org")
        shown = headers | {"x-goog-api-key": key}
        assert (await identify(store, shown)).email_address == "ana@x.org"


async def test_a_service_that_others_can_reach_takes_nobody_for_its_owner(tmp_path):
    async with open_room(tmp_path) as room:
        with pytest.raises(ApiError) as caught:
            await identify(room.service.store, {}, requires_key=True)
        assert caught.value.code == Code.UNAUTHENTICATED


def test_no_key_is_stored_anywhere(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            return await room.make_key("ana@x.org")

    key = asyncio.run(go())
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert key[13:].encode() not in stored
    assert key[3:13].encode() in stored


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    return tmp_path


def who(home, key):
    async def go():
        with closing(open_store(home / "service")) as store:
            return await identify(store, {"x-goog-api-key": key})

    return asyncio.run(go())


def test_a_key_is_printed_once_works_and_can_be_revoked(home, capsys):
    assert run(["keys", "create", "ana@x.org"]) == 0
    shown = capsys.readouterr()
    key = shown.out.strip()
    assert "first key" in shown.err
    assert who(home, key).email_address == "ana@x.org"
    assert run(["keys", "list", "-o", "json"]) == 0
    listed = capsys.readouterr().out
    assert key not in listed
    (row,) = json.loads(listed)
    assert row["email"] == "ana@x.org"
    assert run(["keys", "revoke", row["id"]]) == 0
    with pytest.raises(ApiError, match="revoked"):
        who(home, key)


def test_a_table_of_keys_stays_aligned_under_long_addresses(home, capsys):
    addresses = ["ana@x.org", f"{'long' * 15}@example.com"]
    for each in addresses:
        run(["keys", "create", each])
    capsys.readouterr()
    run(["keys", "--home", str(home), "list"])
    heading, *rows = capsys.readouterr().out.splitlines()
    assert [row[heading.index("email") :].split()[0] for row in rows] == addresses
    assert len({row.index("T", heading.index("created")) for row in rows}) == 1


def test_the_key_itself_names_the_key_to_revoke_and_is_not_repeated(home, capsys):
    assert home
    run(["keys", "create", "ana@x.org"])
    key = capsys.readouterr().out.strip()
    assert run(["keys", "revoke", key]) == 0
    assert key not in capsys.readouterr().err


def test_what_is_no_address_makes_no_key(home, capsys):
    assert run(["keys", "create", "ana"]) == 2
    assert "'ana' is not an e-mail address" in capsys.readouterr().err
    assert not (home / "service").exists()


def test_a_key_that_is_not_there_cannot_be_revoked(home, capsys):
    assert home
    assert run(["keys", "revoke", "none"]) == 2
    assert "tuner keys list" in capsys.readouterr().err


def test_stopping_what_does_not_run_is_no_error(home, capsys):
    assert home
    assert run(["serve", "--stop"]) == 0
    assert "no service is running" in capsys.readouterr().err


TEAM = "team@x.org"


def members(capsys):
    capsys.readouterr()
    assert run(["groups", "list", "--json"]) == 0
    return {row["group"]: row["members"] for row in json.loads(capsys.readouterr().out)}


def test_a_group_is_made_changed_listed_and_ended(home, capsys):
    assert home
    assert run(["groups", "create", TEAM, "Bo@x.org"]) == 0
    assert run(["groups", "create", "empty@x.org"]) == 0
    assert run(["groups", "add", TEAM, "ana@x.org", "cy@x.org"]) == 0
    assert run(["groups", "remove", "Team@X.org", "bo@x.org"]) == 0
    assert members(capsys) == {"empty@x.org": [], TEAM: ["ana@x.org", "cy@x.org"]}
    assert run(["groups", "delete", TEAM, "-y"]) == 0
    assert members(capsys) == {"empty@x.org": []}
    assert run(["groups", "--home", str(home), "list"]) == 0
    assert capsys.readouterr().out.startswith("group  ")


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["create", TEAM], f"there is a group {TEAM}", "tuner groups add"),
        (["create", "team"], "'team' is not an e-mail address", "ana@example.com"),
        (["add", TEAM, "bo@x.org", "ANA@x.org"], "ANA@x.org is in the group", "no one was added"),
        (["add", "no@x.org", "bo@x.org"], "there is no group no@x.org", "tuner groups create"),
        (["add", TEAM, "bo"], "'bo' is not an e-mail address", "ana@example.com"),
        (["remove", "no@x.org", "ana@x.org"], "there is no group no@x.org", "tuner groups list"),
        (["remove", TEAM, "ana@x.org", "bo@x.org"], "bo@x.org is not in", "no one was removed"),
        (["delete", "no@x.org", "-y"], "there is no group no@x.org", "tuner groups list"),
    ],
)
def test_what_cannot_be_done_is_explained_and_changes_nothing(home, capsys, arguments, what, fix):
    assert home
    run(["groups", "create", TEAM, "ana@x.org"])
    capsys.readouterr()
    assert run(["groups", *arguments]) == 2
    said = capsys.readouterr().err
    assert what in said
    assert fix in said
    assert members(capsys) == {TEAM: ["ana@x.org"]}


async def test_who_joins_and_leaves_a_group_gains_and_loses_its_models(tmp_path):
    async with open_room(tmp_path) as room:
        room.key = await room.make_key("owner@x.org")
        member = await room.make_key("Member@x.org")
        await room.create()
        permission = {"grantee_type": "GROUP", "email_address": "Team@x.org", "role": "READER"}
        await room.call("CreatePermission", parent="tunedModels/m", permission=permission)
        seen = [await can_see(room, member)]
        await room.make_group(TEAM, "member@X.org")
        seen.append(await can_see(room, member))
        await room.service.store.write(permissions.remove_member, TEAM, "member@x.org")
        seen.append(await can_see(room, member))
        assert seen == [False, True, False]


async def test_a_running_service_knows_of_a_change_by_another_process_within_a_second(tmp_path):
    async with open_room(tmp_path) as room:
        room.key = await room.make_key("owner@x.org")
        member = await room.make_key("member@x.org")
        await room.create()
        permission = {"grantee_type": "GROUP", "email_address": TEAM, "role": "READER"}
        await room.call("CreatePermission", parent="tunedModels/m", permission=permission)
        assert not await can_see(room, member)
        await asyncio.to_thread(access.create_group, tmp_path, TEAM, ["member@x.org"])
        async with asyncio.timeout(10):  # a second, on a machine that has other work too
            while not (await room.call("ListTunedModels", key=member)).tuned_models:
                await room.service.store.wait_for_write(0.1)
        assert await can_see(room, member)


async def can_see(room, key):
    """By both ways, which must agree: the list, and the model's name."""
    listed = await room.call("ListTunedModels", key=key)
    if not listed.tuned_models:
        with pytest.raises(ApiError, match="may not exist"):
            await room.call("GetTunedModel", key=key, name="tunedModels/m")
        return False
    await room.call("GetTunedModel", key=key, name="tunedModels/m")
    return True


def test_the_matrix_knows_every_method():
    assert {method.short_name for method in METHODS.values()} == set(REQUESTS)


@pytest.mark.parametrize("who", MAY)
async def test_a_caller_may_do_what_the_role_says_and_nothing_else(tmp_path, who):
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

    async with open_room(tmp_path) as room:
        key = (await make_keys(room))[who]
        names = await set_up(room, "m", who)
        for at, name in enumerate(REQUESTS):
            check(name, await outcome(room, name, key, request_for(name, names)))
            if name in MAY[who] - READS - OPEN:  # it changed the model
                names = await set_up(room, f"m{at}", who)


async def test_what_is_hidden_and_what_does_not_exist_give_the_same_bytes(tmp_path):
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


async def test_an_empty_name_is_refused_by_its_form(tmp_path):
    async with open_room(tmp_path) as room:
        refused = await outcome(room, "GetTunedModel", "", {"name": ""})
        assert refused.code == Code.INVALID_ARGUMENT
        assert refused.violations[0].field == "name"
        refused = await outcome(room, "ListPermissions", "", {"parent": "corpora/c"})
        assert refused.code == Code.UNIMPLEMENTED


async def test_a_name_longer_than_any_is_refused_before_anything_remembers_it(tmp_path):
    async with open_room(tmp_path) as room:
        for name in (f"tunedModels/{'a' * 256}", f"tunedModels/m/operations/{'a' * 256}"):
            refused = await refusal(room, "CancelOperation", name=name)
            assert refused.code == Code.INVALID_ARGUMENT


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
