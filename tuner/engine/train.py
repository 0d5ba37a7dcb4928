"""The training loop: AdamW on an adapter, the loss on the answers' tokens only."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from tuner.engine import Step, batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor

    from torch import Tensor

    from tuner.engine.batches import Row
    from tuner.engine.checkpoint import Progress
    from tuner.engine.lora import Adapter
    from tuner.engine.models import CausalModel

    Gradients = tuple[float, list[Tensor]]
    from collections.abc import Mapping

    from torch import Tensor

WARMUP_RATIO = 0.1  # of all steps


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How to train; fields as in TuningTask.

    Attributes:
        threads: A batch is shared out to as many threads, which wait for each other once a step; threads
            inside each operation wait for each other a thousand times a step.
    """

    epoch_count: int
    batch_size: int
    learning_rate: float
    seed: int
    threads: int = 1

    def steps(self, rows: int) -> int:
        """Optimizer steps in all."""
        return self.epoch_count * -(-rows // self.batch_size)


def train(
    model: CausalModel, rows: Sequence[Row], plan: TrainingPlan, progress: Progress
) -> Iterator[tuple[Step, Progress]]:
    """Do the steps that ``progress`` has not done yet, one for every item asked for.

    The same model, rows, plan and progress give the same bits on the same machine.

    Yields:
        What the step did, and the progress after it, in order.
    """
    total = plan.steps(len(rows))
    per_epoch = total // plan.epoch_count
    size = max(1, min(plan.threads, plan.batch_size))
    with thread_pool(size, plan.threads) as threads:
        for step in range(progress.step + 1, total + 1):
            epoch, number = divmod(step - 1, per_epoch)
            batch = batches.epoch(rows, plan.batch_size, plan.seed, epoch + 1)[number]
            rate = plan.learning_rate * schedule(step, total)
            shares = batches.deal(batch, size)
            loss = training_step(model, shares, progress, rate, threads)
            progress = replace(progress, step=step)
            yield Step(step, epoch + 1, loss, time.time(), sum(map(len, batch))), progress


def thread_pool(size: int, threads: int) -> ThreadPoolExecutor:
    """So many threads to schedule a batch; where there are more processors, each may use several."""
    each = max(1, threads // size)
    return ThreadPoolExecutor(size, initializer=torch.set_num_threads, initargs=(each,))


def training_step(
    model: CausalModel,
    shares: Sequence[Sequence[Row]],
    progress: Progress,
    rate: float,
    threads: Executor,
) -> float:
    """Change the adapter once.

    Args:
        model: Stays as it is.
        shares: A batch, dealt out to the threads.
        progress: Its tensors change.
        rate: The learning rate of this step.
        threads: Of ``thread_pool``.

    Returns:
        The mean loss over the batch's answer tokens, in nats.
    """
    found = list(threads.map(partial(gradients, model, progress.adapter), shares))
    labels = sum(len(row.answer) for rows in shares for row in rows)
    columns = zip(*(parts for _, parts in found), strict=True)
    means = [sum(column[1:], start=column[0]) / labels for column in columns]
    tensors = progress.adapter.tensors
    adamw_step(tensors, means, progress.moments, progress.step + 1, rate)
    return sum(loss for loss, _ in found) / labels


def gradients(model: CausalModel, adapter: Adapter, rows: Sequence[Row]) -> Gradients:
    """The sum of the losses of all answer tokens, and its gradient for every tensor of the adapter."""
    tensors = list(adapter.tensors.values())
    total, sums = 0.0, [torch.zeros_like(tensor) for tensor in tensors]
    for part in batches.micro(rows):
        wanted = torch.tensor([token for row in part for token in row.answer])
        logits = model.label_logits(part, adapter)
        loss = functional.cross_entropy(logits, wanted, reduction="sum")
        found = torch.autograd.grad(loss, tensors)
        sums = [one + other for one, other in zip(sums, found, strict=True)]
        total += loss.item()
    return total, sums


def schedule(step: int, total: int) -> float:
    """The part of the learning rate used at a step: up in a line, then down in a line towards 0."""
    warm = max(1, round(WARMUP_RATIO * total))
    return step / warm if step <= warm else (total - step + 1) / (total - warm + 1)


BETAS = (0.9, 0.999)
EPSILON = 1e-8
WEIGHT_DECAY = 0.01  # of the weights, times the learning rate, in every step
MAX_GRAD_NORM = 1.0  # the length of all gradients together is cut to this


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Running means of every tensor's gradient and of its square, by the tensor's name."""

    mean: Mapping[str, Tensor]
    square: Mapping[str, Tensor]


def zero_moments(tensors: Mapping[str, Tensor]) -> Moments:
    """The moments before the first step."""
    mean = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    return Moments(mean, {name: torch.zeros_like(tensor) for name, tensor in mean.items()})


@torch.no_grad()
def adamw_step(
    tensors: Mapping[str, Tensor],
    gradients: Sequence[Tensor],
    moments: Moments,
    step: int,
    rate: float,
) -> None:
    """Do step number ``step``, from 1.

    Args:
        tensors: Changed in place.
        gradients: One a tensor, in their order.
        moments: Changed in place.
        step: Decides how much the zero_moments at the start are made up for.
        rate: The learning rate of this step.
    """
    length = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))
    share = min(1.0, MAX_GRAD_NORM / (float(length) + EPSILON))
    first, second = (1 - beta**step for beta in BETAS)
    for (name, tensor), whole in zip(tensors.items(), gradients, strict=True):
        gradient = whole * share
        mean = moments.mean[name].lerp_(gradient, 1 - BETAS[0])
        square = moments.square[name].lerp_(gradient * gradient, 1 - BETAS[1])
        tensor.mul_(1 - rate * WEIGHT_DECAY)
        tensor.addcdiv_(mean, (square / second).sqrt_().add_(EPSILON), value=-rate / first)
