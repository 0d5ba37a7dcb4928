"""What `tuner permissions`, `tuner transfer` and `tuner ops` print and change."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.fakes.target import ME
from tuner.__main__ import run
from tuner.jobs import audit_log
from tuner.types import Grant, NewTunedModel, Role, State

if TYPE_CHECKING:
    from tests.fakes.target import FakeTarget

NAME = "tunedModels/capitals-3f9a"
ANA = "ana@example.com"


def roles(target: FakeTarget) -> dict[str, Role]:
    return {each.grant.email_address: each.grant.role for each in target.shared[NAME].values()}


def share(target: FakeTarget, grant: Grant) -> str:
    return asyncio.run(target.grant(NAME, grant)).name


@pytest.mark.parametrize(
    ("grantee", "grant"),
    [
        (ANA, ["USER", ANA]),
        ("group:team@example.com", ["GROUP", "team@example.com"]),
        ("everyone", ["EVERYONE", None]),
    ],
)
@pytest.mark.usefixtures("target")
def test_people_groups_and_everyone_are_granted(
    capsys: pytest.CaptureFixture[str], grantee: str, grant: list[str | None]
) -> None:
    assert run(["permissions", "grant", NAME, grantee, "--role", "writer", "--json"]) == 0

    made = json.loads(capsys.readouterr().out)
    assert [made["grantee_type"], made["email_address"]] == grant
    assert made["role"] == "WRITER"


def test_another_role_changes_the_permission_in_place(target: FakeTarget) -> None:
    name = share(target, Grant(Role.READER, email_address=ANA))

    assert run(["permissions", "grant", NAME, ANA.upper(), "--role", "writer"]) == 0

    assert target.shared[NAME][name].grant.role is Role.WRITER
    assert (target.grants, target.role_changes) == (1, 1)


def test_the_same_grant_again_is_nothing_to_do(
    target: FakeTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    share(target, Grant(Role.READER, email_address=ANA))

    assert run(["permissions", "grant", NAME, ANA]) == 0

    assert "nothing to do" in capsys.readouterr().err
    assert (target.grants, target.role_changes) == (1, 0)


@pytest.mark.parametrize("grantee", ["ana", "group:team", "robot:a@b.c", ""])
def test_what_is_no_grantee_is_refused_before_anything_is_asked(
    target: FakeTarget, grantee: str
) -> None:
    before = len(target.calls)

    assert run(["permissions", "grant", NAME, grantee]) == 2

    assert len(target.calls) == before


@pytest.mark.parametrize("by_name", [False, True])
def test_a_permission_is_revoked_by_grantee_or_by_name(target: FakeTarget, by_name: bool) -> None:
    name = share(target, Grant(Role.READER, email_address=ANA))

    assert run(["permissions", "revoke", *([name] if by_name else [NAME, ANA])]) == 0

    assert ANA not in roles(target)


@pytest.mark.parametrize("command", [["revoke", NAME, ME], ["grant", NAME, ME]])
def test_the_owner_is_left_alone(target: FakeTarget, command: list[str]) -> None:
    assert run(["permissions", *command]) == 2

    assert roles(target) == {ME: Role.OWNER}


@pytest.mark.usefixtures("target")
def test_permissions_are_listed_with_the_owner_first(capsys: pytest.CaptureFixture[str]) -> None:
    run(["permissions", "grant", NAME, ANA])
    capsys.readouterr()

    assert run(["permissions", "ls", NAME]) == 0

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "role",
        "OWNER",
        "READER",
    ]


def test_a_transfer_hands_the_model_over(target: FakeTarget) -> None:
    assert run(["transfer", NAME, "--to", ANA, "-y"]) == 0

    assert roles(target) == {ME: Role.WRITER, ANA: Role.OWNER}


def test_what_is_changed_by_hand_is_audited_before_and_after(target: FakeTarget) -> None:
    run(["permissions", "grant", NAME, ANA])
    run(["permissions", "grant", NAME, ANA, "--role", "writer"])
    run(["permissions", "revoke", NAME, ANA])
    run(["transfer", NAME, "--to", ANA, "-y"])

    said = [
        (each["state"], each["action"], each["what"], each["why"], each["credentials"])
        for each in audit_log.read_log(audit_log.audit_file())
    ]
    changes = [
        ("grant", f"{ANA} (reader)"),
        ("change_role", f"{ANA} (writer)"),
        ("revoke", f"{ANA} (writer)"),
        ("transfer", f"{NAME} to {ANA}"),
    ]
    assert said == [
        (state, action, what, "by hand", target.caller)
        for action, what in changes
        for state in ("intended", "done")
    ]


@pytest.mark.parametrize(
    "command",
    [
        ["permissions", "grant", NAME, ANA],
        ["permissions", "revoke", NAME, "team@example.com"],
        ["transfer", NAME, "--to", ANA, "-y"],
        ["models", "delete", NAME, "-y"],
    ],
)
def test_what_cannot_be_recorded_is_not_done(target: FakeTarget, command: list[str]) -> None:
    share(target, Grant(Role.READER, email_address="team@example.com"))
    before = roles(target)
    audit_log.audit_file().mkdir(parents=True)

    assert run(command) == 1

    assert roles(target) == before


def test_a_transfer_is_not_made_unasked(target: FakeTarget) -> None:
    assert run(["transfer", NAME, "--to", ANA]) == 2

    assert target.transfers == 0


def test_a_transfer_to_the_owner_is_nothing_to_do(
    target: FakeTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["transfer", NAME, "--to", ME.upper()]) == 0

    assert "nothing to do" in capsys.readouterr().err
    assert target.transfers == 0


@pytest.mark.parametrize("text", [NAME, "capitals-3f9a", f"{NAME}/operations/op1"])
@pytest.mark.usefixtures("target")
def test_an_operation_is_found_by_its_name_or_its_models(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert run(["ops", "get", text, "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["status"]) == (f"{NAME}/operations/op1", "succeeded")


@pytest.mark.parametrize(
    ("cancelled", "error", "code"), [(False, "", 0), (False, "broken", 1), (True, "", 7)]
)
def test_waiting_ends_with_the_operation_and_its_exit_code(
    target: FakeTarget, cancelled: bool, error: str, code: int
) -> None:
    target.tuning_error = error
    target.looks_until_done = 2 if cancelled else 1
    new = NewTunedModel("b", (), base_model="models/tiny")
    operation = asyncio.run(target.create(new)).name
    if cancelled:
        assert run(["ops", "cancel", operation]) == 0

    assert run(["ops", "wait", operation]) == code


def test_an_operation_that_has_ended_is_not_cancelled(
    target: FakeTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ops", "cancel", NAME]) == 0

    assert "nothing to do" in capsys.readouterr().err
    assert target.held[NAME].state is State.ACTIVE
