"""AdamW on a handful of small tensors (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101).

torch.optim computes the same, but loads torch's compiler on the way: two seconds of every worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8
DECAY = 0.01  # of the weights, times the learning rate, in every step
MOST_GRADIENT = 1.0  # the length of all gradients together is cut to this


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Running means of every tensor's gradient and of its square, by the tensor's name."""

    mean: Mapping[str, Tensor]
    square: Mapping[str, Tensor]


def zeros(tensors: Mapping[str, Tensor]) -> Moments:
    """The moments before the first step."""
    mean = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    return Moments(mean, {name: torch.zeros_like(tensor) for name, tensor in mean.items()})


@torch.no_grad()
def update(
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
        step: Decides how much the zeros at the start are made up for.
        rate: The learning rate of this step.
    """
    length = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))
    share = min(1.0, MOST_GRADIENT / (float(length) + EPSILON))
    first, second = (1 - beta**step for beta in BETAS)
    for (name, tensor), whole in zip(tensors.items(), gradients, strict=True):
        gradient = whole * share
        mean = moments.mean[name].lerp_(gradient, 1 - BETAS[0])
        square = moments.square[name].lerp_(gradient * gradient, 1 - BETAS[1])
        tensor.mul_(1 - rate * DECAY)
        tensor.addcdiv_(mean, (square / second).sqrt_().add_(EPSILON), value=-rate / first)
