"""How many optimizer steps a tuning takes, with the service's own choices where a spec leaves them open."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.types import Hyperparameters

DEFAULT_EPOCHS = 5
MANY_EXAMPLES = 1_000
BATCH_SIZES = (4, 16)
"""Of few and of many examples: what the service chooses where a spec leaves it open. A test holds
these to what the service in the box does, which goes by Google's documents."""


def total_steps(examples: int, hyperparameters: Hyperparameters) -> int:
    """Optimizer steps in all, as the service would choose what is left open.

    The last batch of an epoch may be smaller.
    """
    epochs = hyperparameters.epoch_count or DEFAULT_EPOCHS
    batch = hyperparameters.batch_size or BATCH_SIZES[examples >= MANY_EXAMPLES]
    return epochs * -(-examples // batch)
