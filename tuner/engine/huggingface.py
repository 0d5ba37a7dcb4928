"""Any causal language model of transformers, tuned with PEFT: slower than our own Llama, but general.

B rows, T tokens (padded on the right), V vocabulary.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM, DynamicCache

from tuner.engine import lora
from tuner.engine.lora import Adapter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from tuner.engine.batches import Row

NAME = "default"  # PEFT's for an only adapter; it stands inside the names of the parameters


class Remembered:
    """The keys and values transformers keeps, and which of their columns are padding."""

    def __init__(self, past: DynamicCache, mask: Tensor, positions: Tensor) -> None:
        """``mask`` (B, columns) is 1 for real tokens, ``positions`` (B) those of the next ones."""
        self.past = past
        self.mask = mask
        self.positions = positions

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these."""
        self.past.batch_select_indices(rows)
        self.mask, self.positions = self.mask[rows], self.positions[rows]


class HuggingFace:
    """A base model with one set of LoRA slots, into which the adapter of each call is put."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        """Load model and slots; dropout stays off, so that tuning is the same every time."""
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
        config = LoraConfig(
            r=lora.RANK,
            lora_alpha=lora.ALPHA,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
            # GPT-2's layers keep their weights transposed, and PEFT wants to be told.
            fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in base.modules()),
        )
        self.model = get_peft_model(base, config, autocast_adapter_dtype=True).eval()
        self.config = config
        self.inside: Adapter | None = None
        self.turn = threading.Lock()  # the slots hold one adapter at a time
        names = get_peft_model_state_dict(self.model).keys()
        parameters = dict(self.model.named_parameters())
        self.slots = {name: parameters[_parameter(name)] for name in names}

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together at the most."""
        return int(self.model.config.max_position_embeddings)

    def new_adapter(self, seed: int) -> Adapter:
        """A fresh adapter for all linear layers."""
        config = self.config.to_dict() | {"inference_mode": True, "task_type": "CAUSAL_LM"}
        config["target_modules"] = sorted(config["target_modules"])
        config = {key: value for key, value in config.items() if _is_plain(value)}
        random = torch.Generator().manual_seed(seed)
        tensors = {}
        for name, slot in self.slots.items():
            bound = slot.shape[1] ** -0.5 if ".lora_A." in name else 0.0
            tensors[name] = torch.empty(slot.shape).uniform_(-bound, bound, generator=random)
        return Adapter(config, tensors)

    def prepare(self, adapter: Adapter) -> Adapter:
        """Check that the adapter fits. Raises EngineError."""
        lora.check_shapes(adapter, {name: tuple(slot.shape) for name, slot in self.slots.items()})
        return adapter

    def trainable(self, adapter: Adapter) -> Adapter:
        """The slots themselves, holding the adapter's numbers."""
        self._put(adapter)
        return Adapter(adapter.config, {name: self.slots[name] for name in adapter.tensors})

    def label_logits(self, rows: Sequence[Row], adapter: Adapter) -> Tensor:
        """Logits before every answer token, row by row, (sum of answers' lengths, V)."""
        del adapter  # it is in the slots
        ids, mask = _padded([row.prompt + row.answer for row in rows])
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        parts = [
            logits[number, len(row.prompt) - 1 : len(row) - 1] for number, row in enumerate(rows)
        ]
        return torch.cat(parts).float()

    def prefill(
        self, rows: Sequence[Sequence[int]], prepared: Adapter | None
    ) -> tuple[Tensor, Remembered]:
        """Read prompts. Returns the logits after each, (B, V), and what to go on from."""
        ids, mask = _padded(rows)
        past = DynamicCache(config=self.model.config)
        positions = torch.arange(ids.shape[1]).expand_as(ids)
        logits = self._run(prepared, ids, mask, positions, past)
        lengths = mask.sum(1)
        last = logits[torch.arange(len(rows)), lengths - 1].float()
        return last, Remembered(past, mask, lengths)

    def decode(self, tokens: Tensor, memory: Remembered, prepared: Adapter | None) -> Tensor:
        """Read one more token of each row, (B). Returns the logits after it, (B, V)."""
        memory.mask = torch.nn.functional.pad(memory.mask, (0, 1), value=1)
        positions = memory.positions[:, None]
        memory.positions = memory.positions + 1
        logits = self._run(prepared, tokens[:, None], memory.mask, positions, memory.past)
        return logits[:, -1].float()

    def _run(
        self, adapter: Adapter | None, ids: Tensor, mask: Tensor, positions: Tensor, past: Any
    ) -> Tensor:
        with self.turn, contextlib.ExitStack() as changed:
            if adapter is not None:
                self._put(adapter)
            else:
                changed.enter_context(self.model.disable_adapter())
            out = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=past
            )
        logits: Tensor = out.logits
        return logits

    def _put(self, adapter: Adapter) -> None:
        """Copy an adapter into the slots, unless it is the one that is there."""
        if self.inside is adapter:
            return
        with torch.no_grad():
            for name, slot in self.slots.items():
                slot.copy_(adapter.tensors[name])
        self.inside = adapter


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Tokens and mask, (B, T) each; padding is 0 in both."""
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(length) < lengths[:, None]).long()


def _parameter(name: str) -> str:
    """The model's name of a parameter that PEFT saves as ``name``."""
    return name.removesuffix(".weight") + f".{NAME}.weight"


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | list | bool)
