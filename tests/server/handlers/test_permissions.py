"""Permissions: what is granted, what a role lets its holder change, and transfers of ownership."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.principals import EMAILS, make_keys, outcome, set_up
from tests.server.room import FULL_NAMES, refusal
from tuner.server.access import LOCAL_OWNER
from tuner.server.api_errors import ApiError, Code
from tuner.server.handlers import permissions
from tuner.server.messages import Permission
from tuner.server.methods import METHODS

pytestmark = pytest.mark.slow

NAME = "tunedModels/m"


async def grant(room, **permission):
    return await room.call("CreatePermission", parent=NAME, permission=permission)


async def roles(room):
    found = await room.call("ListPermissions", parent=NAME)
    names = Permission.Role.Name
    return {each.email_address: names(each.role) for each in found.permissions}


@pytest.mark.parametrize(
    ("permission", "field"),
    [
        ({"grantee_type": "USER", "email_address": "a@x.org", "role": "OWNER"}, "role"),
        ({"grantee_type": "USER", "email_address": "a@x.org"}, "role"),
        ({"grantee_type": "USER", "role": "READER"}, "email_address"),
        ({"grantee_type": "GROUP", "email_address": "team", "role": "READER"}, "email_address"),
        (
            {"grantee_type": "EVERYONE", "email_address": "a@x.org", "role": "READER"},
            "email_address",
        ),
        ({"role": "READER"}, "grantee_type"),
    ],
)
async def test_an_invalid_permission_is_refused_by_field(room, permission, field):
    await room.create()
    fields = {"parent": NAME, "permission": permission}
    refused = await refusal(room, "CreatePermission", **fields)
    assert [each.field for each in refused.violations] == [f"permission.{field}"]


async def test_a_grantee_has_one_permission_whatever_the_case_of_the_address(room):
    await room.create()
    made = await grant(room, grantee_type="USER", email_address="Ana@x.org", role="READER")
    assert made.name.rpartition("/")[2].isalnum()
    again = {"grantee_type": "USER", "email_address": "ana@X.org", "role": "WRITER"}
    refused = await refusal(room, "CreatePermission", parent=NAME, permission=again)
    assert refused.code == Code.ALREADY_EXISTS
    await grant(room, grantee_type="GROUP", email_address="ana@x.org", role="READER")


async def test_only_the_role_of_a_permission_changes(room):
    await room.create()
    made = await grant(room, grantee_type="USER", email_address="a@x.org", role="READER")
    made.role = Permission.WRITER
    made.email_address = "b@x.org"
    changed = await room.call("UpdatePermission", permission=made)
    assert (changed.email_address, changed.role) == ("a@x.org", Permission.WRITER)
    mask = {"paths": ["email_address"]}
    refused = await refusal(room, "UpdatePermission", permission=made, update_mask=mask)
    assert refused.violations[0].field == "permission.email_address"
    made.role = Permission.OWNER
    refused = await refusal(room, "UpdatePermission", permission=made)
    assert "TransferOwnership" in refused.message


async def test_the_owners_permission_cannot_be_changed_or_deleted(room):
    await room.create()
    (own,) = (await room.call("ListPermissions", parent=NAME)).permissions
    refused = await refusal(room, "DeletePermission", name=own.name)
    assert refused.code == Code.FAILED_PRECONDITION
    own.role = Permission.READER
    refused = await refusal(room, "UpdatePermission", permission=own)
    assert refused.code == Code.FAILED_PRECONDITION
    assert await roles(room) == {"owner@localhost": "OWNER"}


@pytest.mark.parametrize("had_a_role", [True, False])
async def test_a_transfer_makes_the_old_owner_a_writer(room, had_a_role):
    await room.create()
    if had_a_role:
        await grant(room, grantee_type="USER", email_address="lead@x.org", role="READER")
    await room.call("TransferOwnership", name=NAME, email_address="Lead@x.org")
    found = {email.lower(): role for email, role in (await roles(room)).items()}
    assert found == {"owner@localhost": "WRITER", "lead@x.org": "OWNER"}


async def test_a_transfer_to_the_owner_changes_nothing(room):
    await room.create()
    await room.call("TransferOwnership", name=NAME, email_address="owner@localhost")
    assert await roles(room) == {"owner@localhost": "OWNER"}
    refused = await refusal(room, "TransferOwnership", name=NAME, email_address="lead")
    assert refused.violations[0].field == "email_address"


async def test_a_missing_permission_is_not_found(room):
    await room.create()
    name = f"{NAME}/permissions/none"
    for method in ("GetPermission", "DeletePermission"):
        assert (await refusal(room, method, name=name)).code == Code.NOT_FOUND
    permission = {"name": name, "role": "READER"}
    refused = await refusal(room, "UpdatePermission", permission=permission)
    assert refused.code == Code.NOT_FOUND
    refused = await refusal(room, "GetPermission", name=f"{NAME}/permissions/UPPER")
    assert refused.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize("who", ["writer", "group writer"])
async def test_a_writer_cannot_make_or_change_an_owner(room, who):
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
            attempts.append(("DeletePermission", {"name": permission}, "FAILED_PRECONDITION"))
    for method, fields, code in attempts:
        refused = await outcome(room, method, key, fields)
        assert refused.code.name == code, (method, fields)
    assert await granted(room, name) == before


async def granted(room, name):
    """Who has what, by the name of the permission."""
    found = await room.call("ListPermissions", parent=name)
    return {each.name: (each.email_address, each.role) for each in found.permissions}


async def test_a_writer_may_delete_the_own_permission(room):
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


async def test_a_group_cannot_own_and_a_member_can(room):
    keys = await make_keys(room)
    name = (await set_up(room, "m", "owner"))["MODEL"]
    to_group = {"name": name, "email_address": "Team@x.org"}
    refused = await outcome(room, "TransferOwnership", keys["owner"], to_group)
    assert (refused.code, refused.violations[0].field) == (3, "email_address")
    await room.call("TransferOwnership", name=name, email_address="member@x.org")
    for who, code in (("owner", Code.PERMISSION_DENIED), ("group reader", None)):
        refused = await outcome(room, "DeleteTunedModel", keys[who], {"name": name})
        assert (refused and refused.code) == code


async def test_of_two_concurrent_transfers_one_succeeds(room):
    await make_keys(room)
    name = (await set_up(room, "m", "owner"))["MODEL"]
    emails = ("a@x.org", "b@x.org")
    both = [room.call("TransferOwnership", name=name, email_address=email) for email in emails]
    results = await asyncio.gather(*both, return_exceptions=True)
    assert [isinstance(each, ApiError) for each in results].count(True) == 1


async def test_a_model_deleted_while_it_is_shared_is_hidden(room):
    request = METHODS[FULL_NAMES["CreatePermission"]].request(
        parent="tunedModels/gone", permission={"grantee_type": "EVERYONE", "role": "READER"}
    )
    with pytest.raises(ApiError) as caught:  # as after a check that found it
        await permissions.create_permission(room.service, LOCAL_OWNER, request)
    assert caught.value.reason == "HIDDEN_OR_MISSING"
