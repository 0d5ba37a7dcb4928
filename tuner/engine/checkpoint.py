"""Where a tuning stands, on disk: enough to go on as if nothing had happened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from tuner.engine import durable, train
from tuner.engine.lora import Adapter
from tuner.engine.train import Moments

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

CHECKPOINT_FILE = "checkpoint.safetensors"
RANDOM_STATE = "dice"


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """A tuning between two steps: ``step`` are done, the tensors of the others change with each."""

    step: int
    adapter: Adapter
    moments: Moments


def initial_progress(adapter: Adapter) -> Progress:
    """Before the first step; the tensors are put in order, as sums over them depend on it."""
    tensors = {name: adapter.tensors[name] for name in sorted(adapter.tensors)}
    return Progress(0, Adapter(adapter.config, tensors), train.zero_moments(tensors))


def save_checkpoint(folder: Path, progress: Progress) -> None:
    """Replace the checkpoint: one file, so adapter, optimizer, position and dice always agree."""
    kinds = {
        "adapter": progress.adapter.tensors,
        "mean": progress.moments.mean,
        "square": progress.moments.square,
        RANDOM_STATE: {"torch": torch.get_rng_state()},
    }
    tensors = {
        f"{kind}/{name}": tensor.detach()
        for kind, group in kinds.items()
        for name, tensor in group.items()
    }
    about = {"step": progress.step, "config": progress.adapter.config}
    durable.write(folder / CHECKPOINT_FILE, save(tensors, {"about": json.dumps(about)}))


def load_checkpoint(folder: Path) -> Progress | None:
    """The last checkpoint, None when there is none; sets torch's dice."""
    if not (folder / CHECKPOINT_FILE).exists():
        return None
    kinds: dict[str, dict[str, Tensor]] = {}
    with safe_open(folder / CHECKPOINT_FILE, "pt") as file:
        about: dict[str, Any] = json.loads(file.metadata()["about"])
        for key in file.keys():  # noqa: SIM118  it is no dict
            kind, _, name = key.partition("/")
            kinds.setdefault(kind, {})[name] = file.get_tensor(key).clone()
    torch.set_rng_state(kinds[RANDOM_STATE]["torch"])
    adapter = initial_progress(Adapter(about["config"], kinds["adapter"])).adapter
    return Progress(about["step"], adapter, Moments(kinds["mean"], kinds["square"]))
