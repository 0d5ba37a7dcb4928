"""Messages about a tuning that goes on: only the steps that are new are read and put in.

Somebody who polls asks for a message with all its snapshots, and a tuning has thousands. They
never change, so those known are kept serialized, and what is new is put behind them: a message
followed by another of its kind is read as both of them merged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tuner.server import messages
from tuner.server.handlers import shapes
from tuner.server.store import models, operations

if TYPE_CHECKING:
    from tuner.server.messages import Message
    from tuner.server.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Grown:
    """A message, and what its next edition begins with: ``steps`` up to ``last_step``, serialized.

    ``uid`` is the tuned model's: a name can be used again after a deletion.
    """

    message: Message
    uid: str = ""
    last_step: int = 0
    steps: bytes = b""


_NOTHING = Grown(None)


def operation(connection: Transaction, before: Grown | None, name: str) -> Grown | None:
    """An operation, given how it was before; None when there is none."""
    known = before or _NOTHING
    row = operations.find(connection, name, after=known.last_step)
    if row is None:
        return None
    if row.done:
        row = operations.find(connection, name) or row  # once: the answer repeats all the steps
        return Grown(shapes.operation(row))
    new = messages.CreateTunedModelMetadata(snapshots=shapes.snapshots(row.snapshots))
    steps = known.steps + new.SerializeToString()
    message = shapes.operation(replace(row, snapshots=()))
    message.metadata.value += steps
    return Grown(message, row.model.uid, row.completed_steps, steps)


def tuned_model(connection: Transaction, before: Grown | None, name: str) -> Grown | None:
    """A tuned model, given how it was before; None when there is none."""
    known = before or _NOTHING
    found = models.with_snapshots(connection, [name], after=known.last_step)
    if not found:
        return None
    ((row, rows),) = found
    if known.uid and known.uid != row.uid:
        return tuned_model(connection, None, name)
    new = messages.TunedModel()
    new.tuning_task.snapshots.extend(shapes.snapshots(rows))
    steps = known.steps + new.SerializeToString()
    message = shapes.tuned_model(row, ())
    message.MergeFromString(steps)
    return Grown(message, row.uid, rows[-1].step if rows else known.last_step, steps)
