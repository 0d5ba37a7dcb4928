"""`tuner keys`: make, list and revoke the API keys of the service on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.options import output_option
from tuner.cli.state import state, state_options

if TYPE_CHECKING:
    from tuner.server.store.keys import KeyRow

_FIRST = """\
This is the first key: from now on calls without a key are refused. What was made without one
belongs to owner@localhost: `tuner keys create owner@localhost` gives access to it."""


@click.group()
@state_options
def keys() -> None:
    """Make, list and revoke the API keys of the service on this machine."""


@keys.command()
@click.argument("email")
def create(email: str) -> None:
    """Make a key for EMAIL and print it once: only a salted hash of it is stored."""
    from tuner.server import access

    folder, database = state()
    key_id, key = access.create_key(folder, email, database)
    click.echo(key)
    click.echo(f"for {email}; export TUNER_API_KEY={key}", err=True)
    click.echo(f"to end it: tuner keys revoke {key_id}", err=True)
    if len(access.list_keys(folder, database)) == 1:
        click.echo(_FIRST, err=True)


@keys.command("list")
@output_option
def list_keys(output: str) -> None:
    """List the keys that were made; the keys themselves are stored nowhere."""
    from tuner.cli.output import show
    from tuner.server import access

    show([_shown(row) for row in access.list_keys(*state())], output)


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """End the key with this ID; a running service refuses it within a second."""
    from tuner.server import access

    folder, database = state()
    revoked = access.revoke_key(folder, key_id, database)
    click.echo(f"revoked {revoked}", err=True)


def _shown(row: KeyRow) -> dict[str, str]:
    from tuner.cli.target_calls import when

    return {
        "id": row.id,
        "email": row.email_address,
        "created": when(row.create_ms / 1000),
        "revoked": when((row.revoke_ms or 0) / 1000),
    }
