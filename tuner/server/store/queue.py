"""The queue of tunings: added, claimed with a lease, progress recorded, ended.

Every claim increments the task's epoch, and every write of a running tuning names the epoch of its
claim (a fencing token): a worker whose task was claimed again, cancelled or deleted gets ClaimLost and
changes nothing. An operation becomes done in the transaction that removes its task.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tuner.server.store import models, permissions
from tuner.server.store.schema import model_table, operation_table, queue_table, snapshot_table
from tuner.types import Example, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, CursorResult

    from tuner.server.store.models import ModelRow, SnapshotRow
    from tuner.server.store.permissions import PermissionRow

# Keeps an answer, and a page of ten models, below the 4 MiB that gRPC clients accept by default.
MAX_SNAPSHOTS = 1000


class NameTaken(Exception):
    """There is a tuned model of this name."""


class QueueFull(Exception):
    """The API key has its maximum number of tasks."""


class ClaimLost(Exception):
    """The task was claimed by another worker, cancelled or deleted."""


@dataclass(frozen=True, slots=True)
class NewTuning:
    """The rows of a new tuning; ``parent_uid`` is the tuned model it starts from, or empty."""

    model: ModelRow
    owner: PermissionRow
    operation_name: str
    total_steps: int
    examples: bytes = field(repr=False)
    parent_uid: str = ""


@dataclass(frozen=True, slots=True)
class Quota:
    """The maximum number of tasks of one API key, given by its id; None means no limit."""

    key_id: str = ""
    max_tasks: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed task; ``completed_steps`` were recorded before."""

    model: ModelRow
    epoch: int
    parent_uid: str
    completed_steps: int
    examples: tuple[Example, ...] = field(repr=False)


def pack_examples(examples: Sequence[Example]) -> bytes:
    """Return examples as they are stored: compressed JSON, about a third of their size."""
    rows = [(each.text_input, each.output) for each in examples]
    return zlib.compress(orjson.dumps(rows), level=1)


def unpack_examples(packed: bytes) -> tuple[Example, ...]:
    """Return the examples that ``pack_examples`` was given."""
    return tuple(Example(*row) for row in orjson.loads(zlib.decompress(packed)))


def add(connection: Connection, new: NewTuning, quota: Quota = Quota()) -> None:
    """Create a tuned model with its owner, its operation and its task.

    Raises:
        NameTaken: There is such a model. Checked first: repeating a creation gets this error even
            when the queue is full.
        QueueFull: The quota is used up.
    """
    try:
        models.insert(connection, new.model)
    except IntegrityError as error:
        raise NameTaken from error
    own = sa.select(sa.func.count()).where(queue_table.c.key == quota.key_id)
    if quota.max_tasks is not None and connection.execute(own).scalar_one() >= quota.max_tasks:
        raise QueueFull
    permissions.insert(connection, new.owner)
    connection.execute(
        operation_table.insert().values(
            name=new.operation_name,
            model=new.model.name,
            total_steps=new.total_steps,
            completed_steps=0,
            done=False,
            error_code=0,
            error_message="",
            forgotten=False,
        )
    )
    connection.execute(
        queue_table.insert().values(
            model=new.model.name,
            uid=new.model.uid,
            key=quota.key_id,
            epoch=0,
            lease_until_ms=0,
            parent_uid=new.parent_uid,
            examples=new.examples,
        )
    )


def count(connection: Connection) -> int:
    """Return the number of tasks that wait or run."""
    return connection.execute(sa.select(sa.func.count()).select_from(queue_table)).scalar_one()


def claim(connection: Connection, now_ms: int, lease_ms: int) -> Claim | None:
    """Lease the oldest task without a valid lease, for ``lease_ms``."""
    is_free = queue_table.c.lease_until_ms <= now_ms
    free = sa.select(queue_table).where(is_free).order_by(queue_table.c.position).limit(1)
    task = connection.execute(free).first()
    if task is None:
        return None
    lease = sa.update(queue_table).where(queue_table.c.uid == task.uid)
    lease = lease.values(epoch=task.epoch + 1, lease_until_ms=now_ms + lease_ms)
    connection.execute(lease)
    first = sa.update(model_table).where(
        model_table.c.uid == task.uid, model_table.c.start_ms.is_(None)
    )
    connection.execute(first.values(start_ms=now_ms))
    row = models.find(connection, task.model)
    if row is None:
        return None  # unreachable: deleting the model deletes its task
    steps = sa.select(operation_table.c.completed_steps).where(operation_table.c.model == row.name)
    completed = connection.execute(steps).scalar_one()
    examples = unpack_examples(task.examples)
    return Claim(row, task.epoch + 1, task.parent_uid, completed, examples)


def record(
    connection: Connection, claimed: Claim, steps: Sequence[SnapshotRow], lease_until_ms: int
) -> None:
    """Add the steps that are new, and extend the lease to ``lease_until_ms``. Raises ClaimLost."""
    which = queue_table.c.uid == claimed.model.uid, queue_table.c.epoch == claimed.epoch
    lease = sa.update(queue_table).where(*which).values(lease_until_ms=lease_until_ms)
    extended: CursorResult[object] = connection.execute(lease)
    if extended.rowcount == 0:
        raise ClaimLost
    name, table = claimed.model.name, operation_table.c
    select = sa.select(table.completed_steps, table.total_steps).where(table.model == name)
    completed, total = connection.execute(select).one()
    new = {each.step: each for each in steps if each.step > completed}
    rows = [asdict(each) | {"model": name} for each in new.values() if _is_kept(each.step, total)]
    if rows:
        connection.execute(snapshot_table.insert(), rows)
    if new:
        progress = sa.update(operation_table).where(table.model == name)
        connection.execute(progress.values(completed_steps=max(new)))


def release_all(connection: Connection) -> None:
    """End every lease; only the process that holds the service's lock may call this."""
    connection.execute(sa.update(queue_table).values(lease_until_ms=0))


def succeed(
    connection: Connection, claimed: Claim, steps: Sequence[SnapshotRow], now_ms: int
) -> None:
    """Make the model ACTIVE and the operation done. Raises ClaimLost."""
    record(connection, claimed, steps, now_ms)
    _end(connection, claimed.model.name, State.ACTIVE, (0, ""), now_ms)


def fail(
    connection: Connection,
    claimed: Claim,
    steps: Sequence[SnapshotRow],
    error: tuple[int, str],
    now_ms: int,
) -> None:
    """End a tuning with ``error``, a status code and a message. Raises ClaimLost."""
    record(connection, claimed, steps, now_ms)
    _end(connection, claimed.model.name, State.FAILED, error, now_ms)


def cancel(connection: Connection, model: str, error: tuple[int, str], now_ms: int) -> bool:
    """End a task that waits or runs with ``error``; return whether there was one."""
    task = sa.select(queue_table.c.position).where(queue_table.c.model == model)
    if connection.execute(task).first() is None:
        return False
    _end(connection, model, State.FAILED, error, now_ms)
    return True


def list_parent_uids(connection: Connection) -> set[str]:
    """Return the folders of the models, perhaps deleted, that tasks start from."""
    return set(connection.scalars(sa.select(queue_table.c.parent_uid)))


def _is_kept(step: int, total: int) -> bool:
    """Whether a step becomes a snapshot: the first, the last, and evenly spread ones between."""
    return step in {1, total} or step % -(-total // MAX_SNAPSHOTS) == 0


def _end(
    connection: Connection, model: str, state: State, error: tuple[int, str], now_ms: int
) -> None:
    code, message = error
    connection.execute(sa.delete(queue_table).where(queue_table.c.model == model))
    operation = sa.update(operation_table).where(operation_table.c.model == model)
    connection.execute(operation.values(done=True, error_code=code, error_message=message))
    change = sa.update(model_table).where(model_table.c.name == model)
    connection.execute(change.values(state=state, complete_ms=now_ms, update_ms=now_ms))
