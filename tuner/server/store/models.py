"""Tuned models and the snapshots of their tuning, as rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tuner.server.store.schema import model_table, permission_table, snapshot_table
from tuner.types import GranteeType, Role

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A tuned model; ``source`` is the tuned model it was tuned from, or empty."""

    name: str
    uid: str
    base_model: str
    source: str
    display_name: str
    description: str
    temperature: float
    top_p: float
    top_k: int
    state: str
    epoch_count: int
    batch_size: int
    learning_rate: float
    create_ms: int
    update_ms: int
    start_ms: int | None = None
    complete_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One step of a tuning."""

    step: int
    epoch: int
    mean_loss: float
    compute_ms: int


@dataclass(frozen=True, slots=True)
class ModelQuery:
    """Which tuned models to list.

    Attributes:
        grantees: The caller and the caller's groups, as ``permission.grantee`` has them.
        roles: Each must be held by one of the grantees.
        for_everyone: List the models that everyone may read, not those shared with the grantees.
        words: Each must occur in the display name or the description, in any case.
    """

    grantees: tuple[str, ...]
    roles: frozenset[Role] = frozenset()
    for_everyone: bool = False
    words: tuple[str, ...] = ()


_COLUMNS = [model_table.c[name] for name in ModelRow.__dataclass_fields__]
_SNAPSHOT_COLUMNS = [snapshot_table.c[name] for name in SnapshotRow.__dataclass_fields__]


def insert(connection: Connection, row: ModelRow) -> None:
    """Add a model whose name is not in use."""
    text = _search_text(row.display_name, row.description)
    connection.execute(model_table.insert().values(**asdict(row), search_text=text))


def find(connection: Connection, name: str) -> ModelRow | None:
    """Return one model."""
    found = connection.execute(sa.select(*_COLUMNS).where(model_table.c.name == name)).first()
    return None if found is None else ModelRow(*found)


def page(
    connection: Connection, query: ModelQuery, before: int, size: int
) -> list[tuple[int, ModelRow, list[SnapshotRow]]]:
    """Return the newest models older than position ``before`` (0: all), each with its position."""
    select = sa.select(model_table.c.position, *_COLUMNS).where(_matches(query))
    if before:
        select = select.where(model_table.c.position < before)
    found = connection.execute(select.order_by(model_table.c.position.desc()).limit(size)).all()
    rows = [(position, ModelRow(*values)) for position, *values in found]
    snapshots = _snapshots(connection, [row.name for _, row in rows])
    return [(position, row, snapshots[row.name]) for position, row in rows]


def update(
    connection: Connection, name: str, changes: Mapping[str, str | float], now_ms: int
) -> None:
    """Change some columns of a model, if it still exists."""
    which = model_table.c.name == name
    change = sa.update(model_table).where(which)
    connection.execute(change.values(update_ms=now_ms, **changes))
    row = find(connection, name)
    if row is not None:
        text = _search_text(row.display_name, row.description)
        connection.execute(change.values(search_text=text))


def delete(connection: Connection, name: str) -> None:
    """Delete a model with its operation, snapshots, permissions and entry in the queue."""
    connection.execute(sa.delete(model_table).where(model_table.c.name == name))


def list_uids(connection: Connection) -> set[str]:
    """Return the names of the folders with the models' weights."""
    return set(connection.scalars(sa.select(model_table.c.uid)))


def with_snapshots(
    connection: Connection, names: Sequence[str]
) -> list[tuple[ModelRow, list[SnapshotRow]]]:
    """Return the models that exist, in the order of ``names``, with their snapshots."""
    select = sa.select(*_COLUMNS).where(model_table.c.name.in_(names))
    rows = {row.name: row for row in (ModelRow(*found) for found in connection.execute(select))}
    snapshots = _snapshots(connection, names)
    return [(rows[name], snapshots[name]) for name in names if name in rows]


def _snapshots(connection: Connection, names: Sequence[str]) -> dict[str, list[SnapshotRow]]:
    table = snapshot_table.c
    select = sa.select(table.model, *_SNAPSHOT_COLUMNS).where(table.model.in_(names))
    found: dict[str, list[SnapshotRow]] = {name: [] for name in names}
    for name, *values in connection.execute(select.order_by(table.model, table.step)):
        found[name].append(SnapshotRow(*values))
    return found


def _search_text(display_name: str, description: str) -> str:
    # Folded here, because SQLite's lower() knows only ASCII.
    return f"{display_name}\n{description}".casefold()


def _matches(query: ModelQuery) -> ColumnElement[bool]:
    everyone = [f"{GranteeType.EVERYONE}:"]
    visible = _has_permission(everyone if query.for_everyone else query.grantees)
    held = [_has_permission(query.grantees, role) for role in query.roles]
    text = model_table.c.search_text
    words = [text.contains(word.casefold(), autoescape=True) for word in query.words]
    return sa.and_(visible, *held, *words)


def _has_permission(grantees: Collection[str], role: Role | None = None) -> ColumnElement[bool]:
    table = permission_table.c
    has_role = [table.role == role] if role else []
    return sa.exists().where(
        table.model == model_table.c.name, table.grantee.in_(sorted(set(grantees))), *has_role
    )
