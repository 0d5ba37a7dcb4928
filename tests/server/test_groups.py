"""`tuner groups` as it is typed, and what a running service makes of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.server.room import open_room
from tuner.__main__ import run
from tuner.server import access
from tuner.server.api_errors import ApiError
from tuner.server.store import groups

pytestmark = pytest.mark.slow

TEAM = "team@x.org"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    return tmp_path


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
        (["add", TEAM, "bo@x.org", "ANA@x.org"], "ANA@x.org is in the group", "nobody was added"),
        (["add", "no@x.org", "bo@x.org"], "there is no group no@x.org", "tuner groups create"),
        (["add", TEAM, "bo"], "'bo' is not an e-mail address", "ana@example.com"),
        (["remove", "no@x.org", "ana@x.org"], "there is no group no@x.org", "tuner groups list"),
        (["remove", TEAM, "ana@x.org", "bo@x.org"], "bo@x.org is not in", "nobody was removed"),
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


def test_who_joins_and_leaves_a_group_gains_and_loses_its_models(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            room.key = await room.make_key("owner@x.org")
            member = await room.make_key("Member@x.org")
            await room.create()
            permission = {"grantee_type": "GROUP", "email_address": "Team@x.org", "role": "READER"}
            await room.call("CreatePermission", parent="tunedModels/m", permission=permission)
            seen = [await can_see(room, member)]
            await room.make_group(TEAM, "member@X.org")
            seen.append(await can_see(room, member))
            await room.service.store.write(groups.remove, TEAM, "member@x.org")
            seen.append(await can_see(room, member))
            assert seen == [False, True, False]

    asyncio.run(go())


def test_a_running_service_knows_of_a_change_by_another_process_within_a_second(tmp_path):
    async def go():
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
                    await room.service.store.changed(0.1)
            assert await can_see(room, member)

    asyncio.run(go())


async def can_see(room, key):
    """By both ways, which must agree: the list, and the model's name."""
    listed = await room.call("ListTunedModels", key=key)
    if not listed.tuned_models:
        with pytest.raises(ApiError, match="may not exist"):
            await room.call("GetTunedModel", key=key, name="tunedModels/m")
        return False
    await room.call("GetTunedModel", key=key, name="tunedModels/m")
    return True
