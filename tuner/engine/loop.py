"""The training loop: AdamW on an adapter, the loss on the answers' tokens only."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from tuner.engine import Step, adamw, batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.engine.batches import Row
    from tuner.engine.causal import CausalModel
    from tuner.engine.checkpoints import Progress

WARM_UP = 0.1  # of all steps


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train; fields as in TuningTask."""

    epoch_count: int
    batch_size: int
    learning_rate: float
    seed: int

    def steps(self, rows: int) -> int:
        """Optimizer steps in all."""
        return self.epoch_count * -(-rows // self.batch_size)


def train(
    model: CausalModel, rows: Sequence[Row], plan: Plan, progress: Progress
) -> Iterator[tuple[Step, Progress]]:
    """Do the steps that ``progress`` has not done yet, one for every item asked for.

    The same model, rows, plan and progress give the same bits on the same machine with the same
    number of threads.

    Yields:
        What the step did, and the progress after it, in order.
    """
    total = plan.steps(len(rows))
    per_epoch = total // plan.epoch_count
    for step in range(progress.step + 1, total + 1):
        epoch, number = divmod(step - 1, per_epoch)
        batch = batches.epoch(rows, plan.batch_size, plan.seed, epoch + 1)[number]
        loss = one_step(model, batch, progress, plan.learning_rate * share(step, total))
        progress = replace(progress, step=step)
        yield Step(step, epoch + 1, loss, time.time(), sum(map(len, batch))), progress


def one_step(model: CausalModel, batch: Sequence[Row], progress: Progress, rate: float) -> float:
    """Change the adapter once. Returns the mean loss over the batch's answer tokens, in nats."""
    labels = sum(len(row.answer) for row in batch)
    loss = 0.0
    for part in batches.micro(batch):
        wanted = torch.tensor([token for row in part for token in row.answer])
        logits = model.label_logits(part, progress.adapter)
        part_loss = functional.cross_entropy(logits, wanted, reduction="sum") / labels
        part_loss.backward()  # type: ignore[no-untyped-call]
        loss += part_loss.item()
    adamw.update(progress.adapter.tensors, progress.moments, progress.step + 1, rate)
    return loss


def share(step: int, total: int) -> float:
    """The part of the learning rate used at a step: up in a line, then down in a line towards 0."""
    warm = max(1, round(WARM_UP * total))
    return step / warm if step <= warm else (total - step + 1) / (total - warm + 1)
