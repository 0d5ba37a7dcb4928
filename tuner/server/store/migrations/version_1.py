"""The tables as they were in tuner 0.1.0."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    """Make them."""
    _model()
    _operation()
    _snapshot()
    _permission()
    _queue()
    op.create_table(
        "key",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("email_address", sa.Text, nullable=False),
        sa.Column("groups", sa.Text, nullable=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("create_ms", sa.BigInteger, nullable=False),
        sa.Column("revoke_ms", sa.BigInteger),
    )


def _model() -> None:
    op.create_table(
        "model",
        _position(),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("uid", sa.String, nullable=False, unique=True),
        sa.Column("base_model", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("search_text", sa.Text, nullable=False),
        sa.Column("temperature", sa.Float, nullable=False),
        sa.Column("top_p", sa.Float, nullable=False),
        sa.Column("top_k", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("epoch_count", sa.Integer, nullable=False),
        sa.Column("batch_size", sa.Integer, nullable=False),
        sa.Column("learning_rate", sa.Float, nullable=False),
        sa.Column("create_ms", sa.BigInteger, nullable=False),
        sa.Column("update_ms", sa.BigInteger, nullable=False),
        sa.Column("start_ms", sa.BigInteger),
        sa.Column("complete_ms", sa.BigInteger),
        sqlite_autoincrement=True,
    )


def _operation() -> None:
    op.create_table(
        "operation",
        _position(),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("model", sa.String, _of_model(), nullable=False, unique=True),
        sa.Column("total_steps", sa.Integer, nullable=False),
        sa.Column("completed_steps", sa.Integer, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        sa.Column("error_code", sa.Integer, nullable=False),
        sa.Column("error_message", sa.Text, nullable=False),
        sa.Column("forgotten", sa.Boolean, nullable=False),
        sqlite_autoincrement=True,
    )


def _snapshot() -> None:
    op.create_table(
        "snapshot",
        sa.Column("model", sa.String, _of_model(), primary_key=True),
        sa.Column("step", sa.Integer, primary_key=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("mean_loss", sa.Float, nullable=False),
        sa.Column("compute_ms", sa.BigInteger, nullable=False),
    )


def _permission() -> None:
    op.create_table(
        "permission",
        _position(),
        sa.Column("model", sa.String, _of_model(), nullable=False, index=True),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("grantee_type", sa.String, nullable=False),
        sa.Column("email_address", sa.Text, nullable=False),
        sa.Column("grantee", sa.Text, nullable=False, index=True),
        sa.Column("role", sa.String, nullable=False),
        sa.UniqueConstraint("model", "id"),
        sa.UniqueConstraint("model", "grantee"),
        sqlite_autoincrement=True,
    )


def _queue() -> None:
    op.create_table(
        "queue",
        _position(),
        sa.Column("model", sa.String, _of_model(), nullable=False, unique=True),
        sa.Column("uid", sa.String, nullable=False, unique=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
        sa.Column("parent_uid", sa.String, nullable=False),
        sa.Column("examples", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )


def _position() -> sa.Column[int]:
    return sa.Column("position", sa.Integer, primary_key=True, autoincrement=True)


def _of_model() -> sa.ForeignKey:
    return sa.ForeignKey("model.name", ondelete="CASCADE")
