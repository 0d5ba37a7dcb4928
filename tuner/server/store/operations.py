"""Operations, as rows read together with the model they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import case, func, select, update

from tuner.server.store import models
from tuner.server.store.tables import operation, permission, queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from tuner.server.store.models import ModelRow, SnapshotRow

STATES = ("queued", "running", "succeeded", "cancelled", "failed")
CANCELLED = 1  # google.rpc.Code


@dataclass(frozen=True, slots=True)
class OperationRow:
    """One tuning as somebody watches it; ``error_code`` 0 is no error."""

    name: str
    total_steps: int
    completed_steps: int
    done: bool
    error_code: int
    error_message: str
    model: ModelRow
    snapshots: tuple[SnapshotRow, ...]


def find(connection: Connection, name: str, after: int = 0) -> OperationRow | None:
    """One operation with the snapshots beyond a step; None also when somebody deleted it."""
    asked = select(operation).where(operation.c.name == name, operation.c.forgotten.is_(False))
    found = connection.execute(asked).first()
    if found is None:
        return None
    (row,) = models.all_with_snapshots(connection, [found.model], after)
    return _row(found, *row)


def page(  # noqa: PLR0913, PLR0917  (a query is its arguments)
    connection: Connection,
    model: str,
    grantees: Sequence[str],
    done: bool | None,
    before: int,
    size: int,
) -> list[tuple[int, OperationRow]]:
    """The newest operations older than position ``before`` (0: all), each with its position.

    Those of one model, or with ``model`` empty those of every model shared with a grantee.
    """
    shared = select(permission.c.model).where(permission.c.grantee.in_(grantees))
    which = operation.c.model == model if model else operation.c.model.in_(shared)
    asked = select(operation).where(which, operation.c.forgotten.is_(False))
    if done is not None:
        asked = asked.where(operation.c.done.is_(done))
    if before:
        asked = asked.where(operation.c.position < before)
    found = connection.execute(asked.order_by(operation.c.position.desc()).limit(size)).all()
    rows = models.all_with_snapshots(connection, [row.model for row in found])
    return [(row.position, _row(row, *of_model)) for row, of_model in zip(found, rows, strict=True)]


def of_model(connection: Connection, model: str) -> str | None:
    """The name of a model's operation."""
    asked = select(operation.c.name).where(operation.c.model == model)
    return connection.execute(asked).scalar_one_or_none()


def counts(connection: Connection, now_ms: int) -> dict[str, int]:
    """How many tunings wait, run, and ended one way or another."""
    held = case((queue.c.lease_until_ms > now_ms, "running"), else_="queued")
    waits = select(held, func.count()).group_by(held)
    code = operation.c.error_code
    how = case((code == 0, "succeeded"), (code == CANCELLED, "cancelled"), else_="failed")
    ended = select(how, func.count()).where(operation.c.done).group_by(how)
    found = {state: count for each in (waits, ended) for state, count in connection.execute(each)}
    return {state: found.get(state, 0) for state in STATES}


def forget(connection: Connection, name: str) -> None:
    """Hide an operation; the tuning goes on."""
    connection.execute(update(operation).where(operation.c.name == name).values(forgotten=True))


def _row(
    found: Row[tuple[object, ...]], of_model: ModelRow, steps: Sequence[SnapshotRow]
) -> OperationRow:
    return OperationRow(
        found.name,
        found.total_steps,
        found.completed_steps,
        found.done,
        found.error_code,
        found.error_message,
        of_model,
        tuple(steps),
    )
