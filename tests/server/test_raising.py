"""Nobody raises himself: what a role lets its holder do to roles, owners and other people's lists."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.principals import EMAILS, make_keys, outcome, set_up
from tests.server.room import FULL_NAMES, open_room
from tuner.server.access import LOCAL_OWNER
from tuner.server.api_errors import ApiError, Code
from tuner.server.handlers import permissions
from tuner.server.methods import METHODS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("who", ["writer", "group writer"])
def test_a_writer_can_raise_nobody_to_owner_nor_touch_the_owner(tmp_path, who):
    async def go():
        async with open_room(tmp_path) as room:
            key = (await make_keys(room))[who]
            name = (await set_up(room, "m", who))["MODEL"]
            before = await granted(room, name)
            own = {"email_address": EMAILS[who], "grantee_type": "USER", "role": "OWNER"}
            attempts = [
                ("CreatePermission", {"parent": name, "permission": own}, "INVALID_ARGUMENT"),
                (
                    "TransferOwnership",
                    {"name": name, "email_address": EMAILS[who]},
                    "PERMISSION_DENIED",
                ),
                ("DeleteTunedModel", {"name": name}, "PERMISSION_DENIED"),
            ]
            for permission, (email, _) in before.items():
                raised = {"permission": {"name": permission, "role": "OWNER"}}
                attempts.append(("UpdatePermission", raised, "INVALID_ARGUMENT"))
                if email == EMAILS["owner"]:
                    lowered = {"permission": {"name": permission, "role": "READER"}}
                    attempts.append(("UpdatePermission", lowered, "FAILED_PRECONDITION"))
                    attempts.append(
                        ("DeletePermission", {"name": permission}, "FAILED_PRECONDITION")
                    )
            for method, fields, code in attempts:
                refused = await outcome(room, method, key, fields)
                assert refused.code.name == code, (method, fields)
            assert await granted(room, name) == before

    asyncio.run(go())


async def granted(room, name):
    """Who has what, by the name of the permission."""
    found = await room.call("ListPermissions", parent=name)
    return {each.name: (each.email_address, each.role) for each in found.permissions}


def test_a_writer_may_step_down_and_leave(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            writer = (await make_keys(room))["writer"]
            name = (await set_up(room, "m", "writer"))["MODEL"]
            own = next(
                permission
                for permission, (email, _) in (await granted(room, name)).items()
                if email == "writer@x.org"
            )
            await room.call("DeletePermission", key=writer, name=own)
            refused = await outcome(room, "GetTunedModel", writer, {"name": name})
            assert refused.reason == "HIDDEN_OR_MISSING"

    asyncio.run(go())


def test_a_group_cannot_own_and_a_member_can(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            keys = await make_keys(room)
            name = (await set_up(room, "m", "owner"))["MODEL"]
            to_group = {"name": name, "email_address": "Team@x.org"}
            refused = await outcome(room, "TransferOwnership", keys["owner"], to_group)
            assert (refused.code, refused.violations[0].field) == (3, "email_address")
            await room.call("TransferOwnership", name=name, email_address="member@x.org")
            for who, code in (("owner", Code.PERMISSION_DENIED), ("group reader", None)):
                refused = await outcome(room, "DeleteTunedModel", keys[who], {"name": name})
                assert (refused and refused.code) == code

    asyncio.run(go())


def test_of_two_transfers_at_once_one_happens(tmp_path):
    """Both are let pass while the first has not happened; only an owner's can."""

    async def go():
        async with open_room(tmp_path) as room:
            await make_keys(room)
            name = (await set_up(room, "m", "owner"))["MODEL"]
            both = [
                room.call("TransferOwnership", name=name, email_address=f"{who}@x.org")
                for who in ("a", "b")
            ]
            results = await asyncio.gather(*both, return_exceptions=True)
            assert [isinstance(each, ApiError) for each in results].count(True) == 1

    asyncio.run(go())


def test_a_model_deleted_while_it_is_shared_is_hidden(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            request = METHODS[FULL_NAMES["CreatePermission"]].request(
                parent="tunedModels/gone", permission={"grantee_type": "EVERYONE", "role": "READER"}
            )
            with pytest.raises(ApiError) as caught:  # as after a check that found it
                await permissions.create_permission(room.service, LOCAL_OWNER, request)
            assert caught.value.reason == "HIDDEN_OR_MISSING"

    asyncio.run(go())


def test_a_page_token_of_anothers_list_is_worth_nothing(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            keys = await make_keys(room)
            for model_id in ("m", "n"):
                await set_up(room, model_id, "reader")
            tokens = {
                method: (await room.call(method, page_size=1, **fields)).next_page_token
                for method, fields in (
                    ("ListTunedModels", {}),
                    ("ListOperations", {"name": "tunedModels/-"}),
                    ("ListPermissions", {"parent": "tunedModels/m"}),
                )
            }
            for who in ("writer", "stranger"):
                for method, token in tokens.items():
                    fields = {"page_size": 1, "page_token": token}
                    fields |= {"name": "tunedModels/-"} if method == "ListOperations" else {}
                    fields |= {"parent": "tunedModels/m"} if method == "ListPermissions" else {}
                    refused = await outcome(room, method, keys[who], fields)
                    is_hidden = who == "stranger" and method == "ListPermissions"
                    assert refused.reason == ("HIDDEN_OR_MISSING" if is_hidden else "INVALID_FIELD")

    asyncio.run(go())
