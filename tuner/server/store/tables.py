"""The tables of the service; times are milliseconds since 1970, names are the API's own."""

from __future__ import annotations

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
)

metadata = MetaData()

# Alembic's own table: it makes the same one.
alembic_version = Table(
    "alembic_version", metadata, Column("version_num", String(32), primary_key=True)
)

place = Table(
    "place",
    metadata,
    # The folder of the weights that belong to these rows, under the service's.
    Column("tunings", String, primary_key=True),
)


def _position() -> Column[int]:
    """A number that only grows: the order of things, and what page tokens hold."""
    return Column("position", Integer, primary_key=True, autoincrement=True)


def _model_name(*, unique: bool = False) -> Column[str]:
    key = ForeignKey("model.name", ondelete="CASCADE")
    return Column("model", String, key, nullable=False, unique=unique, index=not unique)


model = Table(
    "model",
    metadata,
    _position(),
    Column("name", String, nullable=False, unique=True),
    # The folder of its tuning: a name can be used again after a deletion, this cannot.
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

operation = Table(
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
    # DeleteOperation forgets the operation, not the tuning behind it.
    Column("forgotten", Boolean, nullable=False),
    sqlite_autoincrement=True,
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("model", String, ForeignKey("model.name", ondelete="CASCADE"), primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("mean_loss", Float, nullable=False),
    Column("compute_ms", BigInteger, nullable=False),
)

permission = Table(
    "permission",
    metadata,
    _position(),
    _model_name(),
    Column("id", String, nullable=False),
    Column("grantee_type", String, nullable=False),
    Column("email_address", Text, nullable=False),
    # The type with the address in one case: who it is, comparable.
    Column("grantee", Text, nullable=False, index=True),
    Column("role", String, nullable=False),
    UniqueConstraint("model", "id"),
    UniqueConstraint("model", "grantee"),
    sqlite_autoincrement=True,
)

queue = Table(
    "queue",
    metadata,
    _position(),
    _model_name(unique=True),
    Column("uid", String, nullable=False, unique=True),
    # Who asked for it, by the id of a key: a model can go to another owner while it waits.
    Column("key", String, nullable=False, index=True),
    # Every claim raises it; a write that names an older one is refused.
    Column("epoch", Integer, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("parent_uid", String, nullable=False),
    Column("examples", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

key = Table(
    "key",
    metadata,
    Column("id", String, primary_key=True),
    Column("email_address", Text, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("create_ms", BigInteger, nullable=False),
    Column("revoke_ms", BigInteger),
)

# Addresses in one case, as permissions compare them.
user_group = Table(
    "user_group",
    metadata,
    Column("email_address", Text, primary_key=True),
    Column("create_ms", BigInteger, nullable=False),
)

member = Table(
    "member",
    metadata,
    Column(
        "user_group", ForeignKey("user_group.email_address", ondelete="CASCADE"), primary_key=True
    ),
    Column("email_address", Text, primary_key=True, index=True),
    Column("create_ms", BigInteger, nullable=False),
)
