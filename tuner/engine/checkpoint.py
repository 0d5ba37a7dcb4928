"""Save and load the state of a tuning, so that it resumes to the same bits after a crash."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save

from tuner.engine import train
from tuner.engine.lora import Adapter
from tuner.engine.train import Moments
from tuner.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

CHECKPOINT_FILE = "checkpoint.safetensors"
RANDOM_STATE = "dice"  # its name in files of earlier versions


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """The state after ``step`` training steps; the next step changes its tensors in place."""

    step: int
    adapter: Adapter
    moments: Moments


def initial_progress(adapter: Adapter) -> Progress:
    """Return the state before the first step, with tensors sorted: sums over them depend on order."""
    tensors = {name: adapter.tensors[name] for name in sorted(adapter.tensors)}
    return Progress(0, Adapter(adapter.config, tensors), train.zero_moments(tensors))


def save_checkpoint(folder: Path, progress: Progress) -> None:
    """Replace the checkpoint; adapter, optimizer and random state are one file, so they always agree."""
    groups = {
        "adapter": progress.adapter.tensors,
        "mean": progress.moments.mean,
        "square": progress.moments.square,
        RANDOM_STATE: {"torch": torch.get_rng_state()},
    }
    tensors = {
        f"{group}/{name}": tensor.detach()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    about = {"step": progress.step, "config": progress.adapter.config}
    write_atomic(folder / CHECKPOINT_FILE, save(tensors, {"about": json.dumps(about)}))


def load_checkpoint(folder: Path) -> Progress | None:
    """Return the last checkpoint, or None; sets torch's random state to the checkpoint's."""
    if not (folder / CHECKPOINT_FILE).exists():
        return None
    groups: dict[str, dict[str, Tensor]] = {}
    with safe_open(folder / CHECKPOINT_FILE, "pt") as file:
        about: dict[str, Any] = json.loads(file.metadata()["about"])
        for key in file.keys():  # noqa: SIM118  not a dict
            group, _, name = key.partition("/")
            groups.setdefault(group, {})[name] = file.get_tensor(key).clone()
    torch.set_rng_state(groups[RANDOM_STATE]["torch"])
    adapter = initial_progress(Adapter(about["config"], groups["adapter"])).adapter
    return Progress(about["step"], adapter, Moments(groups["mean"], groups["square"]))
