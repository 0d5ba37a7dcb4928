"""Groups are tables of their own, no longer written into each key; each database has its folder."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Make the tables, fill them from the keys, and drop what is replaced."""
    connection = op.get_bind()
    op.execute("DROP TABLE IF EXISTS schema_version")
    place = op.create_table("place", sa.Column("tunings", sa.String, primary_key=True))
    op.bulk_insert(place, [{"tunings": "tunings"}])
    _make_groups()
    people = connection.execute(sa.text("SELECT email_address, groups, create_ms FROM key"))
    _fill_groups([tuple(row) for row in people])
    with op.batch_alter_table("key") as key:
        key.drop_column("groups")
    with op.batch_alter_table("queue") as queue:
        queue.add_column(sa.Column("key", sa.String, nullable=False, server_default=""))
        queue.create_index("ix_queue_key", ["key"])


def _make_groups() -> None:
    op.create_table(
        "user_group",
        sa.Column("email_address", sa.Text, primary_key=True),
        sa.Column("create_ms", sa.BigInteger, nullable=False),
    )
    group = sa.ForeignKey("user_group.email_address", ondelete="CASCADE")
    op.create_table(
        "member",
        sa.Column("user_group", sa.Text, group, primary_key=True),
        sa.Column("email_address", sa.Text, primary_key=True, index=True),
        sa.Column("create_ms", sa.BigInteger, nullable=False),
    )


def _fill_groups(people: list[tuple[str, str, int]]) -> None:
    groups: dict[str, int] = {}
    members: dict[tuple[str, str], int] = {}
    for email, names, ms in sorted(people, key=lambda row: row[2]):
        for name in json.loads(names):
            groups.setdefault(name.casefold(), ms)
            members.setdefault((name.casefold(), email.casefold()), ms)
    connection = op.get_bind()
    for name, ms in groups.items():
        row = {"name": name, "ms": ms}
        connection.execute(sa.text("INSERT INTO user_group VALUES (:name, :ms)"), row)
    for (name, email), ms in members.items():
        row = {"name": name, "email": email, "ms": ms}
        connection.execute(sa.text("INSERT INTO member VALUES (:name, :email, :ms)"), row)
