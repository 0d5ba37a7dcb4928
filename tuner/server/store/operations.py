"""Operations, as rows read together with the tuned model they create."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tuner.server.store import models
from tuner.server.store.schema import operation_table, permission_table, queue_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Select

    from tuner.server.store.models import ModelRow, SnapshotRow

STATES = ("queued", "running", "succeeded", "cancelled", "failed")
CANCELLED = 1  # google.rpc.Code


@dataclass(frozen=True, slots=True)
class OperationRow:
    """The state of a tuning as clients see it; ``error_code`` 0 means no error."""

    name: str
    total_steps: int
    completed_steps: int
    done: bool
    error_code: int
    error_message: str
    model: ModelRow
    snapshots: tuple[SnapshotRow, ...]


def find(connection: Connection, name: str) -> OperationRow | None:
    """Return an operation; None if there is none or it was deleted."""
    table = operation_table.c
    select = sa.select(operation_table).where(table.name == name, table.forgotten.is_(False))
    found = _rows(connection, select)
    return found[0][1] if found else None


def page(  # noqa: PLR0913, PLR0917  (a query is its arguments)
    connection: Connection,
    model: str,
    grantees: Sequence[str],
    done: bool | None,
    before: int,
    size: int,
) -> list[tuple[int, OperationRow]]:
    """Return the newest operations older than position ``before`` (0: all), each with its position.

    Those of one model or, with ``model`` empty, of every model shared with one of ``grantees``.
    """
    table = operation_table.c
    shared = sa.select(permission_table.c.model).where(permission_table.c.grantee.in_(grantees))
    which = table.model == model if model else table.model.in_(shared)
    select = sa.select(operation_table).where(which, table.forgotten.is_(False))
    if done is not None:
        select = select.where(table.done.is_(done))
    if before:
        select = select.where(table.position < before)
    return _rows(connection, select.order_by(table.position.desc()).limit(size))


def counts(connection: Connection, now_ms: int) -> dict[str, int]:
    """Return the number of tunings in each of ``STATES``."""
    leased = sa.case((queue_table.c.lease_until_ms > now_ms, "running"), else_="queued")
    code = operation_table.c.error_code
    ended = sa.case((code == 0, "succeeded"), (code == CANCELLED, "cancelled"), else_="failed")
    selects = (
        sa.select(leased, sa.func.count()).group_by(leased),
        sa.select(ended, sa.func.count()).where(operation_table.c.done).group_by(ended),
    )
    found = {state: count for each in selects for state, count in connection.execute(each)}
    return {state: found.get(state, 0) for state in STATES}


def hide(connection: Connection, name: str) -> None:
    """Make an operation invisible; its tuning goes on."""
    which = operation_table.c.name == name
    connection.execute(sa.update(operation_table).where(which).values(forgotten=True))


def _rows(connection: Connection, select: Select[Any]) -> list[tuple[int, OperationRow]]:
    found = connection.execute(select).all()
    with_snapshots = models.with_snapshots(connection, [each.model for each in found])
    return [
        (
            each.position,
            OperationRow(
                each.name,
                each.total_steps,
                each.completed_steps,
                each.done,
                each.error_code,
                each.error_message,
                model,
                tuple(snapshots),
            ),
        )
        for each, (model, snapshots) in zip(found, with_snapshots, strict=True)
    ]
