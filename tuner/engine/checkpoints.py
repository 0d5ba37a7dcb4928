"""Where a tuning stands, on disk: enough to go on as if nothing had happened."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from tuner.engine import durable
from tuner.engine.lora import Adapter

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.optim import Optimizer

FILE = "checkpoint.safetensors"
RANDOM = "random"
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """A tuning between two steps.

    Attributes:
        step: Optimizer steps done.
        adapter: Its tensors are the ones being trained.
        optimizer: AdamW over these tensors, in their order.
    """

    step: int
    adapter: Adapter
    optimizer: Optimizer


def start(adapter: Adapter) -> Progress:
    """Before the first step; the tensors are put in order, as sums over them depend on it."""
    tensors = {name: adapter.tensors[name].requires_grad_() for name in sorted(adapter.tensors)}
    optimizer = torch.optim.AdamW(list(tensors.values()), weight_decay=0.0, fused=True)
    return Progress(0, Adapter(adapter.config, tensors), optimizer)


def save_to(folder: Path, progress: Progress) -> None:
    """Replace the checkpoint: one file, so adapter, optimizer, position and dice always agree."""
    tensors: dict[str, Tensor] = {RANDOM: torch.get_rng_state()}
    for name, tensor in progress.adapter.tensors.items():
        tensors[f"adapter/{name}"] = tensor.detach()
        for moment in MOMENTS:
            tensors[f"{moment}/{name}"] = progress.optimizer.state[tensor][moment]
    about = {"step": progress.step, "config": progress.adapter.config}
    durable.write(folder / FILE, save(tensors, {"about": json.dumps(about)}))


def load_from(folder: Path) -> Progress | None:
    """The last checkpoint, None when there is none; sets torch's dice."""
    if not (folder / FILE).exists():
        return None
    with safe_open(folder / FILE, "pt") as file:
        about: dict[str, Any] = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  no dict
    names = [name.removeprefix("adapter/") for name in tensors if name.startswith("adapter/")]
    adapter = Adapter(about["config"], {name: tensors[f"adapter/{name}"] for name in names})
    begun = start(adapter)
    for name, tensor in begun.adapter.tensors.items():
        state = {moment: tensors[f"{moment}/{name}"] for moment in MOMENTS}
        begun.optimizer.state[tensor] = {"step": torch.tensor(float(about["step"])), **state}
    torch.set_rng_state(tensors[RANDOM])
    return replace(begun, step=about["step"])
