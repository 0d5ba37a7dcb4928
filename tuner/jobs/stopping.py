"""When a tuning is given up early: its loss has stopped sinking."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.jobspec.schema import EarlyStopping
    from tuner.types import Operation, Snapshot


def reason(asked: EarlyStopping | None, operation: Operation) -> str:
    """Why to cancel the tuning, for people; empty to let it go on.

    The loss at a step is the mean over ``asked.window_steps`` steps up to it. One that is not a
    number is no progress. Steps that were not reported count as time that passed.
    """
    if asked is None or operation.done:
        return ""
    best, best_step = math.inf, 0
    step = 0
    for step, loss in _losses(operation.snapshots, asked.window_steps):
        if loss < best - asked.min_delta or not best_step:
            best, best_step = (math.inf if math.isnan(loss) else loss), step
    if not best_step or step - best_step < asked.patience_steps:
        return ""
    if math.isinf(best):
        return f"the loss has not been a number for {step - best_step} steps"
    sunk = f"sunk below {best:.4g}" + (
        f" by more than {asked.min_delta:g}" if asked.min_delta else ""
    )
    return f"the loss has not {sunk} for {step - best_step} steps"


def _losses(snapshots: Sequence[Snapshot], window_steps: int) -> Iterator[tuple[int, float]]:
    """Step and mean loss, from the step on at which a whole window has passed."""
    window: deque[Snapshot] = deque()
    for each in snapshots:
        window.append(each)
        while window[0].step <= each.step - window_steps:
            window.popleft()
        if each.step >= window_steps:
            # a sum that is kept up rounds, and a loss that stands still would seem to sink
            yield each.step, math.fsum(one.mean_loss for one in window) / len(window)
