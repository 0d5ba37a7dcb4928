from __future__ import annotations

import pytest
import torch

from tuner.engine import train


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.01, 10.0])
def test_the_steps_are_those_of_torch(size):
    random = torch.Generator().manual_seed(0)
    ours = {name: torch.randn(5, 3, generator=random) for name in "ab"}
    theirs = [tensor.clone().requires_grad_() for tensor in ours.values()]
    other = torch.optim.AdamW(theirs, lr=1e-2, weight_decay=train.WEIGHT_DECAY)
    moments = train.zero_moments(ours)
    for step in range(1, 6):
        gradients = [size * torch.randn(5, 3, generator=random) for _ in theirs]
        for tensor, gradient in zip(theirs, gradients, strict=True):
            tensor.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_(theirs, train.MAX_GRAD_NORM)
        other.step()
        train.adamw_step(ours, gradients, moments, step, 1e-2)

    for mine, its in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(mine, its)
