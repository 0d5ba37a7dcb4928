"""Hyperparameters: what is allowed, and what is chosen for those who leave them open.

Google's documents give the defaults (5 epochs; batches of 4 or 16 and a learning rate of 0.001 or
0.0002 by the number of examples) but not the number where they change: here it is 1,000.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.server.api_errors import Violation
from tuner.server.handlers.model_fields import shortest

if TYPE_CHECKING:
    from tuner.server.messages import Message
    from tuner.server.store.models import ModelRow

DEFAULT_EPOCHS = 5
MANY_EXAMPLES = 1_000
MAX_STEPS = 2**31 - 1  # total_steps is an int32 on the wire


@dataclass(frozen=True, slots=True)
class Chosen:
    """Everything decided; the multiplier has been applied."""

    epoch_count: int
    batch_size: int
    learning_rate: float


def resolve(task: Message) -> Chosen:
    """The hyperparameters a tuning task will run with."""
    asked = task.hyperparameters
    is_large = len(task.training_data.examples.examples) >= MANY_EXAMPLES
    default_rate = 0.0002 if is_large else 0.001
    rate = shortest(asked.learning_rate)
    if asked.WhichOneof("learning_rate_option") != "learning_rate":
        has_multiplier = asked.WhichOneof("learning_rate_option") is not None
        multiplier = shortest(asked.learning_rate_multiplier) if has_multiplier else 1.0
        rate = shortest(default_rate * multiplier)
    return Chosen(
        asked.epoch_count if asked.HasField("epoch_count") else DEFAULT_EPOCHS,
        asked.batch_size if asked.HasField("batch_size") else (16 if is_large else 4),
        rate,
    )


def total_steps(row: ModelRow, examples: int) -> int:
    """Optimizer steps in all; the last batch of an epoch may be smaller."""
    return row.epoch_count * -(-examples // row.batch_size)


def problems(task: Message) -> list[Violation]:
    """What is wrong with the hyperparameters of a task."""
    asked = task.hyperparameters
    found = [
        _about(field, f"must be 1 or more, not {getattr(asked, field)}")
        for field in ("epoch_count", "batch_size")
        if asked.HasField(field) and getattr(asked, field) < 1
    ]
    option = asked.WhichOneof("learning_rate_option")
    rate = getattr(asked, option) if option else 1.0
    if not (math.isfinite(rate) and rate > 0):
        found.append(_about(option, f"must be a number above 0, not {shortest(rate)}"))
    steps = asked.epoch_count * len(task.training_data.examples.examples)
    if not found and steps > MAX_STEPS:
        found.append(_about("epoch_count", f"{steps} examples in all, at most {MAX_STEPS}"))
    return found


def _about(field: str, what: str) -> Violation:
    return Violation(f"tuned_model.tuning_task.hyperparameters.{field}", what)
