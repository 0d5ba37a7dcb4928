"""The tables of the service's database, and the upgrade of older ones by Alembic's migrations.

Times are milliseconds since 1970. The version of the tables is a number in Alembic's own table. A new
database gets the tables below at once; an older one runs the steps in ``migrations``, all in one
transaction. Alembic is loaded only for those.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
)

from tuner.server.store.database import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

VERSION = 2
WEIGHTS_FOLDER = "tunings"
MIGRATIONS = Path(__file__).parent / "migrations"
metadata = MetaData()


def _position() -> Column[int]:
    """An increasing number: the order of rows, and what page tokens hold."""
    return Column("position", Integer, primary_key=True, autoincrement=True)


def _model_name(*, unique: bool = False) -> Column[str]:
    key = ForeignKey("model.name", ondelete="CASCADE")
    return Column("model", String, key, nullable=False, unique=unique, index=not unique)


# Alembic creates the same table.
alembic_version_table = Table(
    "alembic_version", metadata, Column("version_num", String(32), primary_key=True)
)

# The name of the weights' folder, under the service's.
place_table = Table("place", metadata, Column("tunings", String, primary_key=True))

model_table = Table(
    "model",
    metadata,
    _position(),
    Column("name", String, nullable=False, unique=True),
    # Names the folder of the weights: unlike the name, it is never used again after a deletion.
    Column("uid", String, nullable=False, unique=True),
    Column("base_model", String, nullable=False),
    Column("source", String, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("search_text", Text, nullable=False),
    Column("temperature", Float, nullable=False),
    Column("top_p", Float, nullable=False),
    Column("top_k", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("epoch_count", Integer, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("learning_rate", Float, nullable=False),
    Column("create_ms", BigInteger, nullable=False),
    Column("update_ms", BigInteger, nullable=False),
    Column("start_ms", BigInteger),
    Column("complete_ms", BigInteger),
    sqlite_autoincrement=True,
)

operation_table = Table(
    "operation",
    metadata,
    _position(),
    Column("name", String, nullable=False, unique=True),
    _model_name(unique=True),
    Column("total_steps", Integer, nullable=False),
    Column("completed_steps", Integer, nullable=False),
    Column("done", Boolean, nullable=False),
    Column("error_code", Integer, nullable=False),
    Column("error_message", Text, nullable=False),
    # DeleteOperation hides the operation; the tuning goes on.
    Column("forgotten", Boolean, nullable=False),
    sqlite_autoincrement=True,
)

snapshot_table = Table(
    "snapshot",
    metadata,
    Column("model", String, ForeignKey("model.name", ondelete="CASCADE"), primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("mean_loss", Float, nullable=False),
    Column("compute_ms", BigInteger, nullable=False),
)

permission_table = Table(
    "permission",
    metadata,
    _position(),
    _model_name(),
    Column("id", String, nullable=False),
    Column("grantee_type", String, nullable=False),
    Column("email_address", Text, nullable=False),
    # Type and case-folded address, for comparison.
    Column("grantee", Text, nullable=False, index=True),
    Column("role", String, nullable=False),
    UniqueConstraint("model", "id"),
    UniqueConstraint("model", "grantee"),
    sqlite_autoincrement=True,
)

queue_table = Table(
    "queue",
    metadata,
    _position(),
    _model_name(unique=True),
    Column("uid", String, nullable=False, unique=True),
    # The id of the API key that created it, for quotas: the model may get another owner meanwhile.
    Column("key", String, nullable=False, index=True),
    # Every claim increments it; a write that names an older one is refused.
    Column("epoch", Integer, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("parent_uid", String, nullable=False),
    Column("examples", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

key_table = Table(
    "key",
    metadata,
    Column("id", String, primary_key=True),
    Column("email_address", Text, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("create_ms", BigInteger, nullable=False),
    Column("revoke_ms", BigInteger),
)

# Addresses of groups and members are case-folded.
group_table = Table(
    "user_group",
    metadata,
    Column("email_address", Text, primary_key=True),
    Column("create_ms", BigInteger, nullable=False),
)

member_table = Table(
    "member",
    metadata,
    Column(
        "user_group", ForeignKey("user_group.email_address", ondelete="CASCADE"), primary_key=True
    ),
    Column("email_address", Text, primary_key=True, index=True),
    Column("create_ms", BigInteger, nullable=False),
)


def prepare(connection: Connection, name: str, before_upgrade: Callable[[int], None]) -> None:
    """Create the tables, or upgrade them to this version.

    Args:
        connection: In a transaction that excludes all other writers.
        name: The database's name for messages.
        before_upgrade: Called with the old version before its tables change; may raise StoreFailed.

    Raises:
        StoreFailed: A newer tuner or another program created the tables.
    """
    found = _version(connection, name)
    if found is None:
        metadata.create_all(connection, checkfirst=False)
        connection.execute(alembic_version_table.insert().values(version_num=str(VERSION)))
    elif found > VERSION:
        what = f"schema {found}, this version reads up to {VERSION}"
        raise StoreFailed(
            f"{name}: written by a newer version of tuner ({what})",
            "run the newer tuner, or choose another database with --home or --database",
        )
    elif found < VERSION:
        before_upgrade(found)
        alembic_version_table.create(connection, checkfirst=True)
        connection.execute(alembic_version_table.delete())
        connection.execute(alembic_version_table.insert().values(version_num=str(found)))
        _upgrade(connection, found)


def claim_folder(connection: Connection, folder: Path, *, is_sqlite: bool) -> str:
    """Return the name of this database's folder of weights under ``folder``; chosen once.

    Each database has its own, because a service deletes folders that its database does not know:
    ``tunings`` for the SQLite file in that folder, a random name otherwise.
    """
    name = connection.scalar(select(place_table.c.tunings))
    if name is None:
        is_free = is_sqlite and not (folder / WEIGHTS_FOLDER).exists()
        name = WEIGHTS_FOLDER if is_free else f"{WEIGHTS_FOLDER}-{secrets.token_hex(4)}"
        connection.execute(place_table.insert().values(tunings=name))
    return str(name)


def _version(connection: Connection, name: str) -> int | None:
    tables = inspect(connection)
    if tables.has_table(alembic_version_table.name):
        found = connection.scalar(select(alembic_version_table.c.version_num)) or ""
    elif tables.has_table("schema_version"):  # tuner 0.1.0 kept it there
        found = str(connection.exec_driver_sql("SELECT version FROM schema_version").scalar())
    else:
        return None
    if not found.isdecimal():
        what = f"{name}: another program has its tables there (schema {found or 'unknown'})"
        raise StoreFailed(what, "choose a database that only tuner uses")
    return int(found)


def _upgrade(connection: Connection, found: int) -> None:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    context = MigrationContext.configure(connection)
    scripts = ScriptDirectory(str(MIGRATIONS), version_locations=[str(MIGRATIONS)])
    steps = scripts.iterate_revisions(str(VERSION), str(found))
    with Operations.context(context):
        for step in reversed(list(steps)):
            step.module.upgrade()
    context.stamp(scripts, str(VERSION))
