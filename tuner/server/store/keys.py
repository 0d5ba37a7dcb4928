"""API keys, as rows that hold no key: a salt, and a digest that only the key can give again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update

from tuner.server.store.tables import key

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class KeyRow:
    """Whose key it is; ``revoke_ms`` is None while it is good."""

    id: str
    email_address: str
    salt: bytes
    digest: bytes
    create_ms: int
    revoke_ms: int | None = None


_COLUMNS = [key.c[name] for name in KeyRow.__dataclass_fields__]


def insert(connection: Connection, row: KeyRow) -> None:
    """Add a key."""
    connection.execute(key.insert().values(**asdict(row)))


def find(connection: Connection, key_id: str) -> KeyRow | None:
    """One key, revoked or not."""
    found = connection.execute(select(*_COLUMNS).where(key.c.id == key_id)).first()
    return None if found is None else KeyRow(*found)


def count(connection: Connection) -> int:
    """How many keys were ever made, the revoked ones included."""
    return connection.execute(select(func.count()).select_from(key)).scalar_one()


def count_good(connection: Connection) -> int:
    """How many keys are in force."""
    asked = select(func.count()).where(key.c.revoke_ms.is_(None))
    return connection.execute(asked).scalar_one()


def all_keys(connection: Connection) -> list[KeyRow]:
    """Every key, the oldest first."""
    asked = select(*_COLUMNS).order_by(key.c.create_ms, key.c.id)
    return [KeyRow(*row) for row in connection.execute(asked)]


def revoke(connection: Connection, key_id: str, now_ms: int) -> bool:
    """End a key; whether there was a good one of that id."""
    asked = update(key).where(key.c.id == key_id, key.c.revoke_ms.is_(None))
    return connection.execute(asked.values(revoke_ms=now_ms)).rowcount > 0
