"""What every target promises about permissions and ownership."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.asking import held_by, new, refusal
from tests.fakes.target import ME
from tuner.errors import AlreadyExists, NotAllowed, NotFound, RequestRefused, TunerError
from tuner.types import (
    Grant,
    GranteeType,
    Operation,
    Role,
)

if TYPE_CHECKING:
    from tests.contract.asking import Ask
    from tuner.targets import Target


ANA = "ana@example.com"


def test_who_creates_a_model_owns_it(ask: Ask, ended: Operation) -> None:
    held = ask(lambda target: held_by(target, ended.tuned_model))

    assert [who for who, role in held.items() if role is Role.OWNER] in ([ME], ["owner@localhost"])


def test_a_grant_is_held_changed_and_revoked_by_its_name(ask: Ask, ended: Operation) -> None:
    name, ben = ended.tuned_model, Grant(Role.READER, email_address="ben@example.com")

    async def shared(target: Target) -> None:
        granted = await target.grant(name, ben)
        assert granted.grant == ben
        assert granted in await target.permissions(name)

        changed = await target.change_role(granted.name, Role.WRITER)
        assert (changed.name, changed.grant.role) == (granted.name, Role.WRITER)
        assert (await held_by(target, name))["ben@example.com"] is Role.WRITER

        await target.revoke(granted.name)
        assert "ben@example.com" not in await held_by(target, name)
        assert await refusal(target.revoke(granted.name)) is NotFound

    ask(shared)


@pytest.mark.parametrize("role", [Role.READER, Role.WRITER])
def test_a_grantee_has_one_permission_whatever_the_case_of_the_address(
    ask: Ask, ended: Operation, role: Role
) -> None:
    address = f"{role}@example.com"

    async def shared(target: Target) -> type[TunerError] | None:
        await target.grant(ended.tuned_model, Grant(Role.READER, email_address=address.lower()))
        again = Grant(role, email_address=address.upper())
        return await refusal(target.grant(ended.tuned_model, again))

    assert ask(shared) is AlreadyExists


@pytest.mark.parametrize(
    "grant",
    [
        Grant(Role.READER, GranteeType.EVERYONE),
        Grant(Role.WRITER, GranteeType.GROUP, "team@example.com"),
    ],
    ids=str,
)
def test_everyone_and_groups_can_be_granted(ask: Ask, ended: Operation, grant: Grant) -> None:
    async def shared(target: Target) -> None:
        granted = await target.grant(ended.tuned_model, grant)
        assert granted in await target.permissions(ended.tuned_model)
        await target.revoke(granted.name)

    ask(shared)


def test_ownership_changes_by_a_transfer_only(ask: Ask, ended: Operation) -> None:
    name, cleo = ended.tuned_model, "cleo@example.com"

    async def tried(target: Target) -> set[type[TunerError] | None]:
        [owner] = [each for each in await target.permissions(name) if each.grant.role is Role.OWNER]
        granted = await target.grant(name, Grant(Role.READER, email_address=cleo))
        return {
            await refusal(target.grant(name, Grant(Role.OWNER, email_address="dan@example.com"))),
            await refusal(target.change_role(granted.name, Role.OWNER)),
            await refusal(target.change_role(owner.name, Role.READER)),
            await refusal(target.revoke(owner.name)),
        }

    assert ask(tried) == {RequestRefused}


@pytest.mark.parametrize("reads_already", [False, True])
def test_a_transfer_makes_a_new_owner_and_a_writer(ask: Ask, reads_already: bool) -> None:
    wanted = new()

    async def handed_over(target: Target) -> None:
        await target.create(wanted)
        [owner] = await target.permissions(wanted.name)
        if reads_already:
            await target.grant(wanted.name, Grant(Role.READER, email_address=ANA))

        await target.transfer(wanted.name, ANA)

        assert await held_by(target, wanted.name) == {
            ANA: Role.OWNER,
            owner.grant.email_address: Role.WRITER,
        }
        assert await refusal(target.transfer(wanted.name, "next@example.com")) is NotAllowed
        assert await refusal(target.delete(wanted.name)) is NotAllowed
        assert (await target.update(wanted.name, {"description": "x"})).description == "x"

    ask(handed_over)
