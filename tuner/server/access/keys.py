"""Making, listing and revoking API keys from the command line, while a service runs or not."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from tuner.errors import NotFound
from tuner.server.access.addresses import check_emails
from tuner.server.access.identity import ID_LENGTH, PREFIX, new_key
from tuner.server.store import keys
from tuner.server.store.database import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.server.store.keys import KeyRow


def create(folder: Path, email_address: str, database: str | None = None) -> tuple[str, str]:
    """Make a key for a person: its id, and the key itself, which is stored nowhere.

    Raises:
        InvalidInput: It is no e-mail address.
        StoreFailed: The database cannot be used.
    """
    check_emails(email_address)
    key, row = new_key(email_address, _now_ms())
    with closing(open_store(folder, database)) as store:
        store.run(keys.insert, row)
    return row.id, key


def listed(folder: Path, database: str | None = None) -> list[KeyRow]:
    """Every key ever made, the oldest first. Raises StoreFailed."""
    with closing(open_store(folder, database)) as store:
        return store.run(keys.all_keys)


def revoke(folder: Path, key_id: str, database: str | None = None) -> str:
    """End a key, given its id or the key itself; a running service refuses it within a second.

    Returns:
        The id of the key.

    Raises:
        NotFound: There is no good key of that id.
        StoreFailed: The database cannot be used.
    """
    wanted = key_id.removeprefix(PREFIX)[:ID_LENGTH]
    with closing(open_store(folder, database)) as store:
        if not store.run(keys.revoke, wanted, _now_ms()):
            raise NotFound(f"no key {wanted} is in force", "`tuner keys list` shows them")
    return wanted


def _now_ms() -> int:
    return int(time.time() * 1000)
