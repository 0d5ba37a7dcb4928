"""Tunings that wait or run: enqueued, claimed with a lease, reported on, ended.

Every claim raises the row's epoch, and every write of a running tuning names the epoch it was
claimed with. A worker thought dead, whose task another one took over or somebody cancelled, gets
Fenced and changes nothing. An operation is done when its row here is gone, in one transaction.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import orjson
from sqlalchemy import CursorResult, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from tuner.server.store import models, permissions
from tuner.server.store.tables import model, operation, queue, snapshot
from tuner.types import Example, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from tuner.server.store.models import ModelRow, SnapshotRow
    from tuner.server.store.permissions import PermissionRow


MOST_SNAPSHOTS = 1000  # of one tuning: an answer, and a page of ten, stay below gRPC's usual 4 MiB


class NameTaken(Exception):
    """There is a tuned model of this name."""


class QueueFull(Exception):
    """The key has as many tasks as it may have."""


class Fenced(Exception):
    """The task belongs to somebody else by now, was cancelled or deleted."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Who asks, by the id of a key, and how many tasks they may have; None is any number."""

    key: str = ""
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A task to work on; ``completed_steps`` were reported before."""

    model: ModelRow
    epoch: int
    parent_uid: str
    completed_steps: int
    examples: tuple[Example, ...] = field(repr=False)


def pack(examples: Sequence[Example]) -> bytes:
    """Examples as they are stored: compressed JSON, about a third of their size."""
    rows = [(each.text_input, each.output) for each in examples]
    return zlib.compress(orjson.dumps(rows), level=1)


def unpack(packed: bytes) -> tuple[Example, ...]:
    """What ``pack`` was given."""
    return tuple(Example(*row) for row in orjson.loads(zlib.decompress(packed)))


def enqueue(  # noqa: PLR0913, PLR0917  (four rows that belong together)
    connection: Connection,
    row: ModelRow,
    owner: PermissionRow,
    operation_name: str,
    total_steps: int,
    parent_uid: str,
    packed: bytes,
    quota: Quota = Quota(),
) -> None:
    """Make a tuned model, its operation, its owner and its place in the queue.

    Raises:
        NameTaken: There is such a model; that is told to who has no more room, too.
        QueueFull: The quota is used up.
    """
    try:
        models.insert(connection, row)
    except IntegrityError as error:
        raise NameTaken from error
    if quota.most is not None and count_of(connection, quota.key) >= quota.most:
        raise QueueFull
    permissions.insert(connection, owner)
    connection.execute(
        operation.insert().values(
            name=operation_name,
            model=row.name,
            total_steps=total_steps,
            completed_steps=0,
            done=False,
            error_code=0,
            error_message="",
            forgotten=False,
        )
    )
    task = {"model": row.name, "uid": row.uid, "parent_uid": parent_uid, "examples": packed}
    connection.execute(queue.insert().values(**task, key=quota.key, epoch=0, lease_until_ms=0))


def count(connection: Connection) -> int:
    """Tasks that wait or run."""
    return connection.execute(select(func.count()).select_from(queue)).scalar_one()


def count_of(connection: Connection, key: str) -> int:
    """Tasks that wait or run, and were asked for with one key."""
    asked = select(func.count()).select_from(queue).where(queue.c.key == key)
    return connection.execute(asked).scalar_one()


def claim(connection: Connection, now_ms: int, lease_ms: int) -> Claim | None:
    """Take the oldest task that nobody holds, for ``lease_ms``."""
    free = select(queue).where(queue.c.lease_until_ms <= now_ms).order_by(queue.c.position)
    task = connection.execute(free.limit(1)).first()
    if task is None:
        return None
    epoch = task.epoch + 1
    taken = update(queue).where(queue.c.uid == task.uid, queue.c.epoch == task.epoch)
    held: CursorResult[object] = connection.execute(
        taken.values(epoch=epoch, lease_until_ms=now_ms + lease_ms)
    )
    if held.rowcount == 0:
        return None
    started = update(model).where(model.c.uid == task.uid, model.c.start_ms.is_(None))
    connection.execute(started.values(start_ms=now_ms))
    row = models.find(connection, task.model)
    if row is None:  # a foreign key says otherwise
        return None
    steps = select(operation.c.completed_steps).where(operation.c.model == task.model)
    completed = connection.execute(steps).scalar_one()
    return Claim(row, epoch, task.parent_uid, completed, unpack(task.examples))


def record(
    connection: Connection, claimed: Claim, steps: Sequence[SnapshotRow], lease_until_ms: int
) -> None:
    """Add steps not reported before, and keep the task until ``lease_until_ms``. Raises Fenced."""
    _fence(connection, claimed, lease_until_ms)
    name = claimed.model.name
    columns = operation.c.completed_steps, operation.c.total_steps
    known, total = connection.execute(select(*columns).where(operation.c.model == name)).one()
    new = {each.step: each for each in steps if each.step > known}
    rows = [asdict(each) | {"model": name} for each in new.values() if _is_kept(each.step, total)]
    if rows:
        connection.execute(snapshot.insert(), rows)
    if new:
        progress = update(operation).where(operation.c.model == name)
        connection.execute(progress.values(completed_steps=max(new)))


def release(connection: Connection, claimed: Claim) -> None:
    """Give the task back to the queue, for the next one to go on with. Raises Fenced."""
    _fence(connection, claimed, 0)


def release_all(connection: Connection) -> None:
    """Give every task back: only for the one process that holds the folder's lock."""
    connection.execute(update(queue).values(lease_until_ms=0))


def succeed(
    connection: Connection, claimed: Claim, steps: Sequence[SnapshotRow], now_ms: int
) -> None:
    """The tuning worked: the model is ACTIVE, the operation done. Raises Fenced."""
    record(connection, claimed, steps, now_ms)
    _end(connection, claimed.model.name, State.ACTIVE, now_ms)


def fail(
    connection: Connection,
    claimed: Claim,
    steps: Sequence[SnapshotRow],
    error: tuple[int, str],
    now_ms: int,
) -> None:
    """The tuning did not work: ``error`` is a status code and a text. Raises Fenced."""
    record(connection, claimed, steps, now_ms)
    _end(connection, claimed.model.name, State.FAILED, now_ms, error)


def cancel(connection: Connection, name: str, error: tuple[int, str], now_ms: int) -> bool:
    """End a task, waiting or running; False when it had ended before."""
    waits = select(queue.c.position).where(queue.c.model == name)
    if connection.execute(waits).first() is None:
        return False
    _end(connection, name, State.FAILED, now_ms, error)
    return True


def parent_uids(connection: Connection) -> set[str]:
    """Folders of models, deleted perhaps, that a waiting or running task goes on from."""
    return set(connection.scalars(select(queue.c.parent_uid)))


def _is_kept(step: int, total: int) -> bool:
    """Whether a step becomes a snapshot: the first, the last, and evenly spread ones between them."""
    return step in {1, total} or step % -(-total // MOST_SNAPSHOTS) == 0


def _fence(connection: Connection, claimed: Claim, lease_until_ms: int) -> None:
    mine = update(queue).where(queue.c.uid == claimed.model.uid, queue.c.epoch == claimed.epoch)
    if connection.execute(mine.values(lease_until_ms=lease_until_ms)).rowcount == 0:
        raise Fenced


def _end(
    connection: Connection,
    name: str,
    state: State,
    now_ms: int,
    error: tuple[int, str] = (0, ""),
) -> None:
    code, message = error
    connection.execute(delete(queue).where(queue.c.model == name))
    ended = update(operation).where(operation.c.model == name)
    connection.execute(ended.values(done=True, error_code=code, error_message=message))
    times = {"complete_ms": now_ms, "update_ms": now_ms}
    connection.execute(update(model).where(model.c.name == name).values(state=state, **times))
