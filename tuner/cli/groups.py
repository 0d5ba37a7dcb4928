"""`tuner groups`: make, change and list the groups of the service on this machine."""

from __future__ import annotations

import click

from tuner.cli.options import confirm, output_option, yes_option
from tuner.cli.state import state, state_options


@click.group()
@state_options
def groups() -> None:
    """Make, change and list groups of people.

    A permission given to a group counts for its members. A running service knows of a change
    within a second.
    """


@groups.command()
@click.argument("group")
@click.argument("people", metavar="[EMAIL]...", nargs=-1)
def create(group: str, people: tuple[str, ...]) -> None:
    """Make a group, named by an e-mail address, with the people named."""
    from tuner.server import access

    folder, database = state()
    access.create_group(folder, group, people, database)
    _say(f"made {group}", people)


@groups.command()
@click.argument("group")
@click.argument("people", metavar="EMAIL...", nargs=-1, required=True)
def add(group: str, people: tuple[str, ...]) -> None:
    """Put people into GROUP."""
    from tuner.server import access

    folder, database = state()
    access.add_members(folder, group, people, database)
    _say(f"added to {group}", people)


@groups.command()
@click.argument("group")
@click.argument("people", metavar="EMAIL...", nargs=-1, required=True)
def remove(group: str, people: tuple[str, ...]) -> None:
    """Take people out of GROUP."""
    from tuner.server import access

    folder, database = state()
    access.remove_members(folder, group, people, database)
    _say(f"removed from {group}", people)


@groups.command()
@click.argument("group")
@yes_option
def delete(group: str, *, yes: bool) -> None:
    """End GROUP; permissions given to it stay, and count for nobody."""
    from tuner.server import access

    confirm(f"Delete the group {group}?", yes=yes)
    folder, database = state()
    access.delete_group(folder, group, database)
    _say(f"deleted {group}")


@groups.command("list")
@output_option
def list_groups(output: str) -> None:
    """List the groups with their members."""
    from tuner.cli.output import show
    from tuner.cli.target_calls import when
    from tuner.server import access

    rows = [
        {
            "group": row.email_address,
            "created": when(row.create_ms / 1000),
            "members": list(row.members),
        }
        for row in access.list_groups(*state())
    ]
    show(rows, output)


def _say(what: str, people: tuple[str, ...] = ()) -> None:
    click.echo(f"{what}: {', '.join(people)}" if people else what, err=True)
