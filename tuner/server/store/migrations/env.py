"""Where Alembic is told what to work on: the connection, and the transaction, that we hand it."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,  # SQLite's too, as we begin our transactions ourselves
)
context.run_migrations()
