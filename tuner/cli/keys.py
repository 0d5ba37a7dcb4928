"""`tuner keys` and `tuner groups`: who may call the service on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tuner.cli.options import confirm, output_option, yes_option
from tuner.cli.serve import use_home

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

DATABASE_ENV = "TUNER_DATABASE"
_FIRST_KEY = """\
This is the first key: from now on, calls without a key are rejected. Models created without a key
belong to owner@localhost; `tuner keys create owner@localhost` gives access to them."""

PEOPLE = click.argument("people", metavar="EMAIL...", nargs=-1, required=True)


def state_options(command: F) -> F:
    """Add ``--home`` and ``--database``, which ``_state`` returns."""
    home = click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        expose_value=False,
        callback=lambda _context, _option, value: use_home(value),
        help="Folder of the service's state, instead of TUNER_HOME or ~/.tuner.",
    )
    database = click.option(
        "--database",
        envvar=DATABASE_ENV,
        metavar="URL",
        expose_value=False,
        callback=_use_database,
        help="The service's database, if it is not in that folder (or set TUNER_DATABASE).",
    )
    return home(database(command))


def _use_database(_context: click.Context, _option: click.Parameter, url: str | None) -> None:
    if url:
        os.environ[DATABASE_ENV] = url


def _state() -> tuple[Path, str | None]:
    """The service's folder, and its database's URL if the database is elsewhere."""
    from tuner.home import service_folder

    return service_folder(), os.environ.get(DATABASE_ENV) or None


@click.group()
@state_options
def keys() -> None:
    """Create, list and revoke API keys of the service on this machine."""


@keys.command("create")
@click.argument("email")
def create_key(email: str) -> None:
    """Create a key for EMAIL and print it once; only a salted hash is stored."""
    from tuner.server import access

    folder, database = _state()
    key_id, key = access.create_key(folder, email, database)
    click.echo(key)
    click.echo(f"for {email}; export TUNER_API_KEY={key}", err=True)
    click.echo(f"to revoke it: tuner keys revoke {key_id}", err=True)
    if len(access.list_keys(folder, database)) == 1:
        click.echo(_FIRST_KEY, err=True)


@keys.command("list")
@output_option
def list_keys(output: str) -> None:
    """List the keys by ID and owner; the keys themselves are not stored."""
    from tuner.cli.output import show
    from tuner.cli.target_calls import when
    from tuner.server import access

    rows = [
        {
            "id": row.id,
            "email": row.email_address,
            "created": when(row.create_ms / 1000),
            "revoked": when((row.revoke_ms or 0) / 1000),
        }
        for row in access.list_keys(*_state())
    ]
    show(rows, output)


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
def revoke_key(key_id: str) -> None:
    """Revoke a key; a running service rejects it within a second."""
    from tuner.server import access

    folder, database = _state()
    revoked = access.revoke_key(folder, key_id, database)
    click.echo(f"revoked {revoked}", err=True)


@click.group()
@state_options
def groups() -> None:
    """Create, change and list groups of users.

    A permission granted to a group applies to its members. A running service sees a change within a
    second.
    """


@groups.command("create")
@click.argument("group")
@click.argument("people", metavar="[EMAIL]...", nargs=-1)
def create_group(group: str, people: tuple[str, ...]) -> None:
    """Create a group, named by an e-mail address, with these members."""
    from tuner.server import access

    folder, database = _state()
    access.create_group(folder, group, people, database)
    _confirm_change(f"created {group}", people)


@groups.command()
@click.argument("group")
@PEOPLE
def add(group: str, people: tuple[str, ...]) -> None:
    """Add members to GROUP."""
    from tuner.server import access

    folder, database = _state()
    access.add_members(folder, group, people, database)
    _confirm_change(f"added to {group}", people)


@groups.command()
@click.argument("group")
@PEOPLE
def remove(group: str, people: tuple[str, ...]) -> None:
    """Remove members from GROUP."""
    from tuner.server import access

    folder, database = _state()
    access.remove_members(folder, group, people, database)
    _confirm_change(f"removed from {group}", people)


@groups.command("delete")
@click.argument("group")
@yes_option
def delete_group(group: str, *, yes: bool) -> None:
    """Delete GROUP; permissions granted to it remain, without effect."""
    from tuner.server import access

    confirm(f"Delete the group {group}?", yes=yes)
    folder, database = _state()
    access.delete_group(folder, group, database)
    _confirm_change(f"deleted {group}")


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
        for row in access.list_groups(*_state())
    ]
    show(rows, output)


def _confirm_change(what: str, people: tuple[str, ...] = ()) -> None:
    click.echo(f"{what}: {', '.join(people)}" if people else what, err=True)
