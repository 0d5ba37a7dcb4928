"""The tables of the service's database, and the upgrade of older ones by Alembic's migrations.

Times are milliseconds since 1970. The version of the tables is a number in Alembic's own table. A new
database gets the tables below at once; an older one runs the steps in ``migrations``, all in one
transaction. Alembic is loaded only for those.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from sqlalchemy.types import TypeEngine

VERSION = 2
WEIGHTS_FOLDER = "tunings"
MIGRATIONS = Path(__file__).parent / "migrations"
metadata = MetaData()


def _columns(kind: type[TypeEngine[Any]], *names: str) -> list[Column[Any]]:
    return [Column(name, kind, nullable=False) for name in names]


def _unique(*names: str) -> list[Column[Any]]:
    return [Column(name, String, nullable=False, unique=True) for name in names]


def _position() -> Column[int]:
    """An increasing number: the order of rows, and what page tokens hold."""
    return Column("position", Integer, primary_key=True, autoincrement=True)


def _of_model(**kwargs: Any) -> Column[str]:
    return Column("model", String, ForeignKey("model.name", ondelete="CASCADE"), **kwargs)


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
    # The uid names the folder of the weights: unlike the name, it is never reused after a deletion.
    *_unique("name", "uid"),
    *_columns(String, "base_model", "source"),
    *_columns(Text, "display_name", "description", "search_text"),
    *_columns(Float, "temperature", "top_p"),
    *_columns(Integer, "top_k"),
    *_columns(String, "state"),
    *_columns(Integer, "epoch_count", "batch_size"),
    *_columns(Float, "learning_rate"),
    *_columns(BigInteger, "create_ms", "update_ms"),
    Column("start_ms", BigInteger),
    Column("complete_ms", BigInteger),
    sqlite_autoincrement=True,
)

operation_table = Table(
    "operation",
    metadata,
    _position(),
    *_unique("name"),
    _of_model(nullable=False, unique=True),
    *_columns(Integer, "total_steps", "completed_steps"),
    *_columns(Boolean, "done"),
    *_columns(Integer, "error_code"),
    *_columns(Text, "error_message"),
    # DeleteOperation hides the operation; the tuning goes on.
    *_columns(Boolean, "forgotten"),
    sqlite_autoincrement=True,
)

snapshot_table = Table(
    "snapshot",
    metadata,
    _of_model(primary_key=True),
    Column("step", Integer, primary_key=True),
    *_columns(Integer, "epoch"),
    *_columns(Float, "mean_loss"),
    *_columns(BigInteger, "compute_ms"),
)

permission_table = Table(
    "permission",
    metadata,
    _position(),
    _of_model(nullable=False, index=True),
    *_columns(String, "id", "grantee_type"),
    *_columns(Text, "email_address"),
    # Type and case-folded address, for comparison.
    Column("grantee", Text, nullable=False, index=True),
    *_columns(String, "role"),
    UniqueConstraint("model", "id"),
    UniqueConstraint("model", "grantee"),
    sqlite_autoincrement=True,
)

queue_table = Table(
    "queue",
    metadata,
    _position(),
    _of_model(nullable=False, unique=True),
    *_unique("uid"),
    # The id of the API key that created it, for quotas: the model may get another owner meanwhile.
    Column("key", String, nullable=False, index=True),
    # Every claim increments it; a write that names an older one is refused.
    *_columns(Integer, "epoch"),
    *_columns(BigInteger, "lease_until_ms"),
    *_columns(String, "parent_uid"),
    *_columns(LargeBinary, "examples"),
    sqlite_autoincrement=True,
)

key_table = Table(
    "key",
    metadata,
    Column("id", String, primary_key=True),
    *_columns(Text, "email_address"),
    *_columns(LargeBinary, "salt", "digest"),
    *_columns(BigInteger, "create_ms"),
    Column("revoke_ms", BigInteger),
)

# Addresses of groups and members are case-folded.
group_table = Table(
    "user_group",
    metadata,
    Column("email_address", Text, primary_key=True),
    *_columns(BigInteger, "create_ms"),
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
