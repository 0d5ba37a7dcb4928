"""The service's database, SQLite or PostgreSQL: one module per group of tables, one transaction per change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.server.store.database import Store, StoreFailed
from tuner.server.store.postgresql import open_postgresql
from tuner.server.store.schema import claim_folder
from tuner.server.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from pathlib import Path


def open_store(folder: Path, url: str | None = None, *, exclusive: bool = False) -> Store:
    """Open the service's database and upgrade its tables to this version.

    Args:
        folder: Holds the weights and the SQLite file; created if missing.
        url: ``postgresql://...``; None means SQLite in the folder.
        exclusive: Fail if another service uses the PostgreSQL database. (For a folder, the
            service's own lock file does that.)

    Raises:
        InvalidInput: ``url`` is not a PostgreSQL URL.
        StoreFailed: The database cannot be used.
    """
    if url is None:
        database = open_sqlite(folder / "service.db", exclusive=exclusive)
    else:
        database = open_postgresql(url, exclusive=exclusive)
    try:
        name = database.run(database.writer, claim_folder, folder, is_sqlite=url is None)
    except StoreFailed:
        database.close()
        raise
    return Store(database, folder / name)
