"""Tuned models and their snapshots, as rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, and_, delete, exists, select, update

from tuner.server.store.tables import model, permission, snapshot
from tuner.types import GranteeType, Role

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A tuned model; ``source`` is the tuned model it went on from, or empty."""

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
class Query:
    """Which tuned models somebody wants to see.

    Attributes:
        grantees: Who asks, as ``permission.grantee`` has it: the person, then the groups.
        roles: Each must be held by one of the grantees.
        is_for_everyone: Only those that everyone may read, in place of those shared with us.
        words: Each must stand in the display name or the description, whatever its case.
    """

    grantees: tuple[str, ...]
    roles: frozenset[Role] = frozenset()
    is_for_everyone: bool = False
    words: tuple[str, ...] = ()


_COLUMNS = [model.c[name] for name in ModelRow.__dataclass_fields__]


def insert(connection: Connection, row: ModelRow) -> None:
    """Add a model; the name must be free."""
    text = search_text(row.display_name, row.description)
    connection.execute(model.insert().values(**asdict(row), search_text=text))


def find(connection: Connection, name: str) -> ModelRow | None:
    """One model."""
    found = connection.execute(select(*_COLUMNS).where(model.c.name == name)).first()
    return None if found is None else ModelRow(*found)


def page(
    connection: Connection, query: Query, before: int, size: int
) -> list[tuple[int, ModelRow, list[SnapshotRow]]]:
    """The newest models older than position ``before`` (0: all), each with its position."""
    asked = select(model.c.position, *_COLUMNS).where(_matches(query))
    if before:
        asked = asked.where(model.c.position < before)
    found = connection.execute(asked.order_by(model.c.position.desc()).limit(size)).all()
    rows = [(position, ModelRow(*values)) for position, *values in found]
    steps = _snapshots(connection, [row.name for _, row in rows])
    return [(position, row, steps[row.name]) for position, row in rows]


def change(
    connection: Connection, name: str, changes: Mapping[str, str | float], now_ms: int
) -> ModelRow | None:
    """Change the columns named; None when the model is gone."""
    connection.execute(
        update(model).where(model.c.name == name).values(update_ms=now_ms, **changes)
    )
    row = find(connection, name)
    if row is not None:
        text = search_text(row.display_name, row.description)
        connection.execute(update(model).where(model.c.name == name).values(search_text=text))
    return row


def remove(connection: Connection, name: str) -> None:
    """Delete a model with its operation, snapshots, permissions and place in the queue."""
    connection.execute(delete(model).where(model.c.name == name))


def uids(connection: Connection) -> set[str]:
    """The folders that hold the weights of a model."""
    return set(connection.scalars(select(model.c.uid)))


def with_snapshots(
    connection: Connection, name: str, after: int = 0
) -> tuple[ModelRow, list[SnapshotRow]] | None:
    """One model with its steps beyond ``after``."""
    found = all_with_snapshots(connection, [name], after)
    return found[0] if found else None


def all_with_snapshots(
    connection: Connection, names: Sequence[str], after: int = 0
) -> list[tuple[ModelRow, list[SnapshotRow]]]:
    """These models, as far as they exist, in the order asked for."""
    asked = select(*_COLUMNS).where(model.c.name.in_(names))
    rows = {row.name: row for row in (ModelRow(*found) for found in connection.execute(asked))}
    steps = _snapshots(connection, names, after)
    return [(rows[name], steps[name]) for name in names if name in rows]


def _snapshots(
    connection: Connection, names: Sequence[str], after: int = 0
) -> dict[str, list[SnapshotRow]]:
    columns = [snapshot.c[each] for each in SnapshotRow.__dataclass_fields__]
    asked = select(snapshot.c.model, *columns).where(snapshot.c.model.in_(names))
    steps: dict[str, list[SnapshotRow]] = {name: [] for name in names}
    for name, *values in connection.execute(
        asked.where(snapshot.c.step > after).order_by(snapshot.c.model, snapshot.c.step)
    ):
        steps[name].append(SnapshotRow(*values))
    return steps


def search_text(display_name: str, description: str) -> str:
    """What a full text search looks in; SQL's lower() knows ASCII only."""
    return f"{display_name}\n{description}".casefold()


def _matches(query: Query) -> ColumnElement[bool]:
    everyone = {GranteeType.EVERYONE + ":"}
    seen = _granted(everyone if query.is_for_everyone else set(query.grantees), None)
    held = [_granted(set(query.grantees), role) for role in query.roles]
    texts = [model.c.search_text.contains(word.casefold(), autoescape=True) for word in query.words]
    return and_(seen, *held, *texts)


def _granted(grantees: Collection[str], role: Role | None) -> ColumnElement[bool]:
    who = permission.c.grantee.in_(sorted(grantees))
    what = permission.c.role == role if role else permission.c.role != ""
    return exists().where(permission.c.model == model.c.name, who, what)
