"""`tuner keys`: make, list and revoke the API keys of the service on this machine."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.serve import use_home

if TYPE_CHECKING:
    from tuner.server.store.keys import KeyRow

_FIRST = """\
This is the first key: from now on calls without a key are refused. What was made without one
belongs to owner@localhost: `tuner keys create owner@localhost` gives access to it."""


@click.group()
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the service's state is, in place of TUNER_HOME or ~/.tuner.",
)
def keys(home: Path | None) -> None:
    """Make, list and revoke the API keys of the service on this machine."""
    use_home(home)


@keys.command()
@click.argument("email")
def create(email: str) -> None:
    """Make a key for EMAIL and print it once: only a salted hash of it is stored."""
    from tuner.home import service_folder
    from tuner.server import keys as desk

    key_id, key = desk.create(service_folder(), email)
    click.echo(key)
    click.echo(f"for {email}; export TUNER_API_KEY={key}", err=True)
    click.echo(f"to end it: tuner keys revoke {key_id}", err=True)
    if len(desk.listed(service_folder())) == 1:
        click.echo(_FIRST, err=True)


@keys.command("list")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def list_keys(output: str) -> None:
    """List the keys that were made; the keys themselves are stored nowhere."""
    from tuner.home import service_folder
    from tuner.server import keys as desk

    rows = [_shown(row) for row in desk.listed(service_folder())]
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    for row in [{name: name.upper() for name in _HEADINGS}, *rows] if rows else []:
        click.echo("  ".join(str(row[name]).ljust(width) for name, width in _HEADINGS.items()))


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """End the key with this ID; a running service refuses it within a second."""
    from tuner.home import service_folder
    from tuner.server import keys as desk

    desk.revoke(service_folder(), key_id)
    click.echo(f"revoked {key_id}", err=True)


_HEADINGS = {"id": 10, "email": 32, "created": 20, "revoked": 20}


def _shown(row: KeyRow) -> dict[str, str]:
    return {
        "id": row.id,
        "email": row.email_address,
        "created": _time(row.create_ms),
        "revoked": _time(row.revoke_ms) if row.revoke_ms else "",
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
