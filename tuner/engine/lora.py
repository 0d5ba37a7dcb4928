"""Create, read and write LoRA adapters in PEFT's format.

Shapes: B output width of a layer, D input width, R rank. A layer with an adapter computes
``x W' + (alpha / R) (x A') B'`` with A (R, D) random and B (B, R) zero before the first step
(Hu et al. 2021, https://arxiv.org/abs/2106.09685).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from tuner.engine import EngineError
from tuner.files import make_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

RANK = 8
ALPHA = 16
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """The result of tuning: small float32 matrices added to the frozen base model.

    Attributes:
        config: PEFT's adapter_config.json.
        tensors: By PEFT's names, ``base_model.model....lora_A.weight`` (R, D) and ``lora_B`` (B, R).
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def scale(self) -> float:
        """The factor of the adapter's output, alpha / R."""
        return float(self.config["lora_alpha"]) / float(self.config["r"])


def new(shapes: Mapping[str, tuple[int, int]], base_model: str, seed: int) -> Adapter:
    """Create an adapter with no effect yet (B is zero); deterministic for a seed.

    Args:
        shapes: (B, D) of every linear layer to adapt, by the layer's name in the model.
        base_model: Recorded in the config, where PEFT looks for the model.
        seed: Of A, which is uniform in +-1/sqrt(D), as in PEFT.
    """
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer, (rows, columns) in shapes.items():
        bound = 1 / math.sqrt(columns)
        a = torch.empty(RANK, columns).uniform_(-bound, bound, generator=random)
        tensors[key(layer, "A")] = a
        tensors[key(layer, "B")] = torch.zeros(rows, RANK)
    return Adapter(
        _config(sorted({name.rpartition(".")[2] for name in shapes}), base_model), tensors
    )


def key(layer: str, part: str) -> str:
    """Return PEFT's name of the A or B matrix of a layer."""
    return f"base_model.model.{layer}.lora_{part}.weight"


def read(folder: Path) -> Adapter:
    """Load an adapter. Raises EngineError if it is incomplete or damaged."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise EngineError(
            f"the adapter in {folder} cannot be read: {error}; delete the tuned model and tune again"
        ) from error
    return Adapter(config, {name: tensor.float() for name, tensor in tensors.items()})


def write(adapter: Adapter, folder: Path) -> None:
    """Write the adapter's folder atomically; an existing one is kept."""

    def fill(partial: Path) -> None:
        tensors = {name: tensor.detach().contiguous() for name, tensor in adapter.tensors.items()}
        (partial / WEIGHTS_FILE).write_bytes(save(tensors, {"format": "pt"}))
        text = json.dumps(adapter.config, indent=2, sort_keys=True)
        (partial / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")

    make_folder(folder, fill)


def check(adapter: Adapter, shapes: Mapping[str, tuple[int, int]]) -> None:
    """Raise EngineError unless the adapter has two matrices for each of these layers and no others."""
    rank = int(adapter.config["r"])
    expected = {key(layer, "A"): (rank, columns) for layer, (_, columns) in shapes.items()}
    expected |= {key(layer, "B"): (rows, rank) for layer, (rows, _) in shapes.items()}
    check_shapes(adapter, expected)


def check_shapes(adapter: Adapter, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise EngineError unless the adapter has exactly these tensors."""
    found = {name: tuple(tensor.shape) for name, tensor in adapter.tensors.items()}
    if dict(expected) != found:
        odd = min(set(expected.items()) ^ set(found.items()))
        raise EngineError(
            f"the adapter does not fit its base model: {odd[0]} {odd[1]};"
            " the base model was replaced after tuning: put the old one back, or tune again"
        )


def _config(layers: list[str], base_model: str) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "target_modules": layers,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
