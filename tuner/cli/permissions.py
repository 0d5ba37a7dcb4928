"""`tuner permissions` and `tuner transfer`: who may use a tuned model, and who owns it."""

from __future__ import annotations

import re
from copy import copy
from typing import TYPE_CHECKING

import click

from tuner.cli.options import confirm, output_option, target_options, yes_option
from tuner.types import Grant, GranteeType, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.targets import Target
    from tuner.types import Permission, TargetConfig

GRANTEE = "EMAIL|group:EMAIL|everyone"
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


@click.group()
def permissions() -> None:
    """List and change who may use a tuned model.

    A reader may call it, a writer may also change and share it, the owner may also delete and transfer it.
    """


@permissions.command("list")
@click.argument("model")
@target_options
@output_option
def list_(config: TargetConfig, model: str, output: str) -> None:
    """List the permissions of MODEL, the owner first."""
    from tuner.cli.output import show
    from tuner.cli.target_calls import call, find_tuned_model, permission_records

    async def listed(target: Target) -> Sequence[Permission]:
        return await target.permissions((await find_tuned_model(target, model)).name)

    show(permission_records(call(config, listed)), output)


@permissions.command()
@click.argument("model")
@click.argument("grantee", metavar=GRANTEE)
@click.option(
    "--role", type=click.Choice(["reader", "writer"]), default="reader", show_default=True
)
@target_options
@output_option
def grant(config: TargetConfig, model: str, grantee: str, role: str, output: str) -> None:
    """Grant a role on MODEL.

    If the grantee has another role, it is changed.
    """
    from tuner.cli.output import show
    from tuner.cli.target_calls import call, permission_record

    wanted = parse_grant(grantee, Role(role.upper()))
    permission, done = call(config, lambda target: _granted(config, target, model, wanted))
    click.echo(done, err=True)
    show(permission_record(permission), output)


async def _granted(
    config: TargetConfig, target: Target, model: str, wanted: Grant
) -> tuple[Permission, str]:
    """Grant, or change an existing role in place; an existing equal grant is not an error."""
    from tuner.cli.target_calls import find_tuned_model
    from tuner.jobs.audit_log import audited_by_hand

    name = (await find_tuned_model(target, model)).name
    held = _held_by(await target.permissions(name), wanted)
    if held is None:
        with audited_by_hand(config, target, name, "grant", str(wanted)):
            return await target.grant(name, wanted), f"granted {wanted} on {name}"
    if held.grant.role is wanted.role:
        return held, f"nothing to do: {held.grant} exists already"
    if held.grant.role is Role.OWNER:
        raise click.UsageError(f"{held.grant.email_address} owns {name}; see `tuner transfer`")
    with audited_by_hand(config, target, name, "change_role", str(wanted)):
        changed = await target.change_role(held.name, wanted.role)
    return changed, f"changed {held.grant} to {wanted.role.lower()} on {name}"


@permissions.command()
@click.argument("model")
@click.argument("grantee", metavar=f"[{GRANTEE}]", required=False)
@target_options
def revoke(config: TargetConfig, model: str, grantee: str | None) -> None:
    """Revoke a role on MODEL.

    Give MODEL and a grantee, or the full name of a permission alone.
    """
    from tuner.cli.target_calls import call
    from tuner.names import permission_parent

    if grantee is None and permission_parent(model) is None:
        raise click.UsageError(
            f"the grantee is missing: `tuner permissions revoke {model} {GRANTEE}`"
        )
    click.echo(call(config, lambda target: _revoked(config, target, model, grantee)), err=True)


async def _revoked(config: TargetConfig, target: Target, model: str, grantee: str | None) -> str:
    from tuner.cli.target_calls import find_tuned_model
    from tuner.jobs.audit_log import audited_by_hand
    from tuner.names import permission_parent

    if grantee is None:
        with audited_by_hand(config, target, permission_parent(model) or "", "revoke", model):
            await target.revoke(model)
        return f"revoked {model}"
    name = (await find_tuned_model(target, model)).name
    held = _held_by(await target.permissions(name), parse_grant(grantee, Role.READER))
    if held is None:
        return f"nothing to do: {grantee} has no role on {name}"
    if held.grant.role is Role.OWNER:
        raise click.UsageError(f"{grantee} owns {name}; only `tuner transfer` changes that")
    with audited_by_hand(config, target, name, "revoke", str(held.grant)):
        await target.revoke(held.name)
    return f"revoked {held.grant} on {name}"


def parse_grant(grantee: str, role: Role) -> Grant:
    """Parse EMAIL, ``group:EMAIL`` or ``everyone``. Raises click.BadParameter."""
    if grantee.casefold() == "everyone":
        return Grant(role, GranteeType.EVERYONE)
    kind, _, email = grantee.rpartition(":")
    if kind not in ("", "user", "group") or not EMAIL.fullmatch(email):
        raise click.BadParameter(f"{grantee!r} is not one of {GRANTEE}")
    return Grant(role, GranteeType.GROUP if kind == "group" else GranteeType.USER, email)


def _held_by(listed: Sequence[Permission], wanted: Grant) -> Permission | None:
    same = (each for each in listed if each.grant.grantee == wanted.grantee)
    return next(same, None)


_hidden = copy(list_)
_hidden.hidden = True
permissions.add_command(_hidden, "ls")


@click.command()
@click.argument("model")
@click.option("--to", "email", required=True, metavar="EMAIL", help="The new owner.")
@yes_option
@target_options
def transfer(config: TargetConfig, model: str, email: str, *, yes: bool) -> None:
    """Transfer a tuned model to a new owner.

    You become a writer. Only the new owner can undo this.
    """
    from tuner.cli.target_calls import call

    if not EMAIL.fullmatch(email):
        raise click.BadParameter(f"{email!r} is not an e-mail address", param_hint="--to")
    name, owner = call(config, lambda target: _owner(target, model))
    if owner.casefold() == email.casefold():
        click.echo(f"nothing to do: {email} owns {name} already", err=True)
        return
    confirm(
        f"{owner or 'You'} will no longer own {name}; only {email} can undo this. Continue?",
        yes=yes,
    )
    call(config, lambda target: _transferred(config, target, name, email))
    click.echo(f"{email} owns {name} now; {owner or 'the old owner'} is a writer", err=True)


async def _transferred(config: TargetConfig, target: Target, name: str, email: str) -> None:
    from tuner.jobs.audit_log import audited_by_hand

    with audited_by_hand(config, target, name, "transfer", f"{name} to {email}"):
        await target.transfer(name, email)


async def _owner(target: Target, model: str) -> tuple[str, str]:
    """Return the full name and the owner's address."""
    from tuner.cli.target_calls import find_tuned_model

    name = (await find_tuned_model(target, model)).name
    grants = [each.grant for each in await target.permissions(name)]
    return name, next((each.email_address for each in grants if each.role is Role.OWNER), "")
