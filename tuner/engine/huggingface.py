"""Any causal language model of transformers, tuned with PEFT: more general than our Llama, but slower.

Shapes: B rows, T tokens (padded on the right), V vocabulary.
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

ADAPTER_NAME = "default"  # PEFT's name of a single adapter, part of the parameters' names


class PaddedCache:
    """The key/value cache of transformers, with the padding mask of its columns."""

    def __init__(self, past: DynamicCache, mask: Tensor, positions: Tensor) -> None:
        """``mask`` (B, columns) is 1 for real tokens; ``positions`` (B) are those of the next tokens."""
        self.past = past
        self.mask = mask
        self.positions = positions

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these."""
        self.past.batch_select_indices(rows)
        self.mask, self.positions = self.mask[rows], self.positions[rows]


class HuggingFace:
    """A base model with one set of LoRA parameters, overwritten with the adapter of each call."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        """Load the model; dropout stays off, so that tuning is deterministic."""
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
        config = LoraConfig(
            r=lora.RANK,
            lora_alpha=lora.ALPHA,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
            # GPT-2 stores its weights transposed; PEFT needs to know.
            fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in base.modules()),
        )
        self.model = get_peft_model(base, config, autocast_adapter_dtype=True).eval()
        self.config = config
        self.loaded: Adapter | None = None
        self.lock = threading.Lock()  # the parameters hold one adapter at a time
        names = get_peft_model_state_dict(self.model).keys()
        parameters = dict(self.model.named_parameters())
        self.parameters = {name: parameters[_parameter(name)] for name in names}

    @property
    def context(self) -> int:
        """Maximum tokens of prompt and answer together."""
        return int(self.model.config.max_position_embeddings)

    def new_adapter(self, seed: int) -> Adapter:
        """Create an adapter for all linear layers."""
        config = self.config.to_dict() | {"inference_mode": True, "task_type": "CAUSAL_LM"}
        config["target_modules"] = sorted(config["target_modules"])
        config = {key: value for key, value in config.items() if _is_plain(value)}
        random = torch.Generator().manual_seed(seed)
        tensors = {}
        for name, parameter in self.parameters.items():
            bound = parameter.shape[1] ** -0.5 if ".lora_A." in name else 0.0
            tensors[name] = torch.empty(parameter.shape).uniform_(-bound, bound, generator=random)
        return Adapter(config, tensors)

    def prepare(self, adapter: Adapter) -> Adapter:
        """Check that the adapter fits. Raises EngineError."""
        lora.check_shapes(
            adapter, {name: tuple(parameter.shape) for name, parameter in self.parameters.items()}
        )
        return adapter

    def trainable(self, adapter: Adapter) -> Adapter:
        """Load the adapter and return the model's own parameters."""
        self._load(adapter)
        return Adapter(adapter.config, {name: self.parameters[name] for name in adapter.tensors})

    def label_logits(self, rows: Sequence[Row], adapter: Adapter) -> Tensor:
        """Return the logits before every answer token, row by row: (sum of answer lengths, V)."""
        del adapter  # loaded by ``trainable``
        ids, mask = _padded([row.prompt + row.answer for row in rows])
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        parts = [
            logits[number, len(row.prompt) - 1 : len(row) - 1] for number, row in enumerate(rows)
        ]
        return torch.cat(parts).float()

    def prefill(
        self, rows: Sequence[Sequence[int]], prepared: Adapter | None
    ) -> tuple[Tensor, PaddedCache]:
        """Read prompts; return the logits after each, (B, V), and the key/value cache."""
        ids, mask = _padded(rows)
        past = DynamicCache(config=self.model.config)
        positions = torch.arange(ids.shape[1]).expand_as(ids)
        logits = self._run(prepared, ids, mask, positions, past)
        lengths = mask.sum(1)
        last = logits[torch.arange(len(rows)), lengths - 1].float()
        return last, PaddedCache(past, mask, lengths)

    def decode(self, tokens: Tensor, cache: PaddedCache, prepared: Adapter | None) -> Tensor:
        """Read one more token per row, (B); return the logits after it, (B, V)."""
        cache.mask = torch.nn.functional.pad(cache.mask, (0, 1), value=1)
        positions = cache.positions[:, None]
        cache.positions = cache.positions + 1
        logits = self._run(prepared, tokens[:, None], cache.mask, positions, cache.past)
        return logits[:, -1].float()

    def _run(
        self, adapter: Adapter | None, ids: Tensor, mask: Tensor, positions: Tensor, past: Any
    ) -> Tensor:
        with self.lock, contextlib.ExitStack() as stack:
            if adapter is not None:
                self._load(adapter)
            else:
                stack.enter_context(self.model.disable_adapter())
            out = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=past
            )
        logits: Tensor = out.logits
        return logits

    def _load(self, adapter: Adapter) -> None:
        """Copy an adapter into the parameters unless it is already there."""
        if self.loaded is adapter:
            return
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(adapter.tensors[name])
        self.loaded = adapter


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return tokens and mask, (B, T) each; padding is 0 in both."""
    length = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(length) < lengths[:, None]).long()


def _parameter(name: str) -> str:
    """Return the model's name of a parameter that PEFT saves as ``name``."""
    return name.removesuffix(".weight") + f".{ADAPTER_NAME}.weight"


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | list | bool)
