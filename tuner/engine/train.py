"""The training loop: AdamW on an adapter, with the loss on the answers' tokens only."""

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
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from torch import Tensor

    from tuner.engine.batches import Row
    from tuner.engine.checkpoint import Progress
    from tuner.engine.lora import Adapter
    from tuner.engine.models import CausalModel

WARMUP_RATIO = 0.1
BETAS = (0.9, 0.999)
EPSILON = 1e-8
WEIGHT_DECAY = 0.01
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How to train; fields as in TuningTask.

    Attributes:
        threads: A batch is divided among this many threads, which synchronise once per step; threads inside
            each torch operation would synchronise a thousand times per step.
    """

    epoch_count: int
    batch_size: int
    learning_rate: float
    seed: int
    threads: int = 1

    def steps(self, rows: int) -> int:
        """Return the number of optimizer steps in all."""
        return self.epoch_count * -(-rows // self.batch_size)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """AdamW's running means of each gradient and of its square, by the tensor's name."""

    mean: Mapping[str, Tensor]
    square: Mapping[str, Tensor]


def train(
    model: CausalModel, rows: Sequence[Row], plan: TrainingPlan, progress: Progress
) -> Iterator[tuple[Step, Progress]]:
    """Run the steps that ``progress`` has not done yet, one per item requested.

    Deterministic: the same arguments give the same bits on the same machine.

    Yields:
        The step and the progress after it, in order.
    """
    total = plan.steps(len(rows))
    per_epoch = total // plan.epoch_count
    thread_count = max(1, min(plan.threads, plan.batch_size))
    with thread_pool(thread_count, plan.threads) as threads:
        for step in range(progress.step + 1, total + 1):
            epoch, number = divmod(step - 1, per_epoch)
            batch = batches.epoch(rows, plan.batch_size, plan.seed, epoch + 1)[number]
            rate = plan.learning_rate * schedule(step, total)
            shares = batches.deal(batch, thread_count)
            loss = training_step(model, shares, progress, rate, threads)
            progress = replace(progress, step=step)
            yield Step(step, epoch + 1, loss, time.time(), sum(map(len, batch))), progress


def thread_pool(size: int, cpus: int) -> ThreadPoolExecutor:
    """Make a pool whose threads divide the CPUs among them."""
    each = max(1, cpus // size)
    return ThreadPoolExecutor(size, initializer=torch.set_num_threads, initargs=(each,))


def training_step(
    model: CausalModel,
    shares: Sequence[Sequence[Row]],
    progress: Progress,
    rate: float,
    threads: Executor,
) -> float:
    """Update the adapter once.

    Args:
        model: Unchanged.
        shares: A batch, one part per thread.
        progress: Its adapter and moments are changed in place.
        rate: The learning rate of this step.
        threads: From ``thread_pool``.

    Returns:
        The mean loss over the batch's answer tokens, in nats.
    """
    results = list(threads.map(partial(gradients, model, progress.adapter), shares))
    token_count = sum(len(row.answer) for rows in shares for row in rows)
    columns = zip(*(parts for _, parts in results), strict=True)
    means = [sum(column[1:], start=column[0]) / token_count for column in columns]
    adamw_step(progress.adapter.tensors, means, progress.moments, progress.step + 1, rate)
    return sum(loss for loss, _ in results) / token_count


def gradients(
    model: CausalModel, adapter: Adapter, rows: Sequence[Row]
) -> tuple[float, list[Tensor]]:
    """Return the summed loss of all answer tokens and its gradient for each adapter tensor."""
    tensors = list(adapter.tensors.values())
    total, sums = 0.0, [torch.zeros_like(tensor) for tensor in tensors]
    for part in batches.micro(rows):
        labels = torch.tensor([token for row in part for token in row.answer])
        logits = model.label_logits(part, adapter)
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        found = torch.autograd.grad(loss, tensors)
        sums = [one + other for one, other in zip(sums, found, strict=True)]
        total += loss.item()
    return total, sums


def schedule(step: int, total: int) -> float:
    """Return the learning rate factor: linear warmup, then linear decay towards 0."""
    warm = max(1, round(WARMUP_RATIO * total))
    return step / warm if step <= warm else (total - step + 1) / (total - warm + 1)


def zero_moments(tensors: Mapping[str, Tensor]) -> Moments:
    """Return the moments before the first step."""
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
    """Do one AdamW step (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101).

    Equal to torch.optim.AdamW, whose import takes 2 s in every worker.

    Args:
        tensors: Changed in place.
        gradients: One per tensor, in their order; clipped together to a norm of MAX_GRAD_NORM.
        moments: Changed in place.
        step: From 1; decides the bias correction.
        rate: The learning rate of this step.
    """
    norm = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))
    clip = min(1.0, MAX_GRAD_NORM / (float(norm) + EPSILON))
    first, second = (1 - beta**step for beta in BETAS)
    for (name, tensor), gradient in zip(tensors.items(), gradients, strict=True):
        clipped = gradient * clip
        mean = moments.mean[name].lerp_(clipped, 1 - BETAS[0])
        square = moments.square[name].lerp_(clipped * clipped, 1 - BETAS[1])
        tensor.mul_(1 - rate * WEIGHT_DECAY)
        tensor.addcdiv_(mean, (square / second).sqrt_().add_(EPSILON), value=-rate / first)
