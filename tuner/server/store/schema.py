"""Which version the tables of a database have, and how they come to be of ours.

The version is a number in Alembic's own table. A new database gets its tables from ``tables`` at
once; an older one takes the steps in ``migrations``, all in one transaction, and only then is
Alembic loaded.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, select

from tuner.server.store import tables
from tuner.server.store.connections import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

VERSION = 2
TUNINGS = "tunings"
MIGRATIONS = Path(__file__).parent / "migrations"


def prepare(connection: Connection, name: str, before: Callable[[int], None]) -> None:
    """Make the tables, or bring them to this version.

    Args:
        connection: In a transaction that nobody else can write beside.
        name: What to call the database in an error.
        before: Called with the version found before older tables change; may refuse.

    Raises:
        StoreFailed: A newer tuner or another program made the tables.
    """
    found = version(connection, name)
    if found is None:
        tables.metadata.create_all(connection, checkfirst=False)
        connection.execute(tables.alembic_version.insert().values(version_num=str(VERSION)))
    elif found > VERSION:
        raise StoreFailed(
            f"{name}: written by a newer version of tuner (schema {found}, this one reads up to"
            f" {VERSION})",
            "run the newer tuner, or name another place with --home or --database",
        )
    elif found < VERSION:
        before(found)
        _tell_alembic(connection, found)
        upgrade(connection)


def version(connection: Connection, name: str = "") -> int | None:
    """The version of the tables; None where there are none. Raises StoreFailed."""
    known = inspect(connection)
    if known.has_table(tables.alembic_version.name):
        found = connection.scalar(select(tables.alembic_version.c.version_num)) or ""
    elif known.has_table("schema_version"):  # tuner 0.1.0 wrote it down there
        found = str(connection.exec_driver_sql("SELECT version FROM schema_version").scalar())
    else:
        return None
    if not found.isdecimal():
        what = f"{name}: another program keeps its tables there (schema {found or 'unknown'})"
        raise StoreFailed(what, "name a database of its own")
    return int(found)


def upgrade(connection: Connection, to: int = VERSION) -> None:
    """Take the steps from the version that Alembic finds, or from nothing, to another."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, str(to))


def _tell_alembic(connection: Connection, found: int) -> None:
    known = tables.alembic_version
    known.create(connection, checkfirst=True)
    connection.execute(known.delete())
    connection.execute(known.insert().values(version_num=str(found)))


def claim_folder(connection: Connection, folder: Path, *, is_own: bool) -> str:
    """The name of the folder of this database's weights under ``folder``; chosen once.

    Each database has one of its own, so that no service tidies away what another one made:
    ``tunings`` for the file in this very folder, which ``is_own`` says.
    """
    known = connection.scalar(select(tables.place.c.tunings))
    if known is None:
        is_free = is_own and not (folder / TUNINGS).exists()
        known = TUNINGS if is_free else f"{TUNINGS}-{secrets.token_hex(4)}"
        connection.execute(tables.place.insert().values(tunings=known))
    return str(known)
