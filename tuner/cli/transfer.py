"""transfer: hand a tuned model over to a new owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.options import confirm, target_options, yes_option
from tuner.cli.permissions import EMAIL
from tuner.types import Role

if TYPE_CHECKING:
    from tuner.targets import Target
    from tuner.types import TargetConfig


@click.command()
@click.argument("model")
@click.option("--to", "email", required=True, metavar="EMAIL", help="The new owner.")
@yes_option
@target_options
def transfer(config: TargetConfig, model: str, email: str, *, yes: bool) -> None:
    """Hand a tuned model over to a new owner.

    You become a writer, and cannot take it back.
    """
    from tuner.cli.asking import ask

    if not EMAIL.fullmatch(email):
        raise click.BadParameter(f"{email!r} is no e-mail address", param_hint="--to")
    name, owner = ask(config, lambda target: _owner(target, model))
    if owner.casefold() == email.casefold():
        click.echo(f"nothing to do: {email} owns {name} already", err=True)
        return
    confirm(
        f"{owner or 'You'} will no longer own {name}; only {email} can undo it. Go on?", yes=yes
    )
    ask(config, lambda target: _transferred(config, target, name, email))
    click.echo(f"{email} owns {name} now; {owner or 'the old owner'} is a writer", err=True)


async def _transferred(config: TargetConfig, target: Target, name: str, email: str) -> None:
    from tuner.jobs.records.audit import by_hand

    with by_hand(config, target, name, "transfer", f"{name} to {email}"):
        await target.transfer(name, email)


async def _owner(target: Target, model: str) -> tuple[str, str]:
    """The full name and the owner's address."""
    from tuner.cli.asking import find_tuned_model

    name = (await find_tuned_model(target, model)).name
    grants = [each.grant for each in await target.permissions(name)]
    return name, next((each.email_address for each in grants if each.role is Role.OWNER), "")
