from __future__ import annotations

import asyncio

import pytest

from tests.server.room import open_room, refusal
from tuner.server.api_errors import Code
from tuner.server.messages import Permission

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
def test_a_permission_that_makes_no_sense_is_refused(tmp_path, permission, field):
    async def go():
        async with open_room(tmp_path) as room:
            await room.create()
            fields = {"parent": NAME, "permission": permission}
            refused = await refusal(room, "CreatePermission", **fields)
            assert [each.field for each in refused.violations] == [f"permission.{field}"]

    asyncio.run(go())


def test_a_grantee_has_one_permission_whatever_the_case_of_the_address(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            await room.create()
            made = await grant(room, grantee_type="USER", email_address="Ana@x.org", role="READER")
            assert made.name.rpartition("/")[2].isalnum()
            again = {"grantee_type": "USER", "email_address": "ana@X.org", "role": "WRITER"}
            refused = await refusal(room, "CreatePermission", parent=NAME, permission=again)
            assert refused.code == Code.ALREADY_EXISTS
            await grant(room, grantee_type="GROUP", email_address="ana@x.org", role="READER")

    asyncio.run(go())


def test_only_the_role_of_a_permission_changes(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
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

    asyncio.run(go())


def test_the_owners_permission_neither_changes_nor_goes(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            await room.create()
            (own,) = (await room.call("ListPermissions", parent=NAME)).permissions
            refused = await refusal(room, "DeletePermission", name=own.name)
            assert refused.code == Code.FAILED_PRECONDITION
            own.role = Permission.READER
            refused = await refusal(room, "UpdatePermission", permission=own)
            assert refused.code == Code.FAILED_PRECONDITION
            assert await roles(room) == {"owner@localhost": "OWNER"}

    asyncio.run(go())


@pytest.mark.parametrize("had_a_role", [True, False])
def test_a_transfer_makes_the_old_owner_a_writer(tmp_path, had_a_role):
    async def go():
        async with open_room(tmp_path) as room:
            await room.create()
            if had_a_role:
                await grant(room, grantee_type="USER", email_address="lead@x.org", role="READER")
            await room.call("TransferOwnership", name=NAME, email_address="Lead@x.org")
            found = {email.lower(): role for email, role in (await roles(room)).items()}
            assert found == {"owner@localhost": "WRITER", "lead@x.org": "OWNER"}

    asyncio.run(go())


def test_a_transfer_to_the_owner_changes_nothing(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            await room.create()
            await room.call("TransferOwnership", name=NAME, email_address="owner@localhost")
            assert await roles(room) == {"owner@localhost": "OWNER"}
            refused = await refusal(room, "TransferOwnership", name=NAME, email_address="lead")
            assert refused.violations[0].field == "email_address"

    asyncio.run(go())


def test_what_is_not_there_is_not_found(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            await room.create()
            name = f"{NAME}/permissions/none"
            for method in ("GetPermission", "DeletePermission"):
                assert (await refusal(room, method, name=name)).code == Code.NOT_FOUND
            permission = {"name": name, "role": "READER"}
            refused = await refusal(room, "UpdatePermission", permission=permission)
            assert refused.code == Code.NOT_FOUND
            refused = await refusal(room, "GetPermission", name=f"{NAME}/permissions/UPPER")
            assert refused.code == Code.INVALID_ARGUMENT

    asyncio.run(go())
