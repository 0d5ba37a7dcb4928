"""What a base model must be able to do, however it computes; and which code runs which model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

import torch

from tuner.engine import EngineError
from tuner.engine.llama import Llama, fits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from tuner.engine.batches import Row
    from tuner.engine.lora import Adapter


class KeyValueCache(Protocol):
    """What a model remembers of the rows it is answering."""

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these, given by their numbers."""


class CausalModel(Protocol):
    """A frozen base model; B rows, V vocabulary. Adapters come in with every call."""

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together at the most."""

    def new_adapter(self, seed: int) -> Adapter:
        """An adapter that changes nothing yet; the same seed gives the same one."""

    def prepare(self, adapter: Adapter) -> Any:
        """What ``prefill`` and ``decode`` want of an adapter. Raises EngineError if it does not fit."""

    def trainable(self, adapter: Adapter) -> Adapter:
        """The same numbers in tensors that take gradients from ``label_logits``."""

    def label_logits(self, rows: Sequence[Row], adapter: Adapter) -> Tensor:
        """Logits before every answer token, row by row, (sum of answers' lengths, V).

        The adapter is one of ``trainable``. Several threads may call this at once.
        """

    def prefill(self, rows: Sequence[Sequence[int]], prepared: Any) -> tuple[Tensor, KeyValueCache]:
        """Read prompts; ``prepared`` None is the base model. Returns logits after each, (B, V)."""

    def decode(self, tokens: Tensor, memory: Any, prepared: Any) -> Tensor:
        """Read one more token of each row, (B). Returns the logits after it, (B, V)."""


def load(folder: Path, dtype: torch.dtype | None = None) -> CausalModel:
    """Load a base model in Hugging Face's format.

    Args:
        folder: config.json and weights.
        dtype: To compute in; None chooses what the model is stored in and this machine is fast at.

    Raises:
        EngineError: The weights cannot be read, or their kind needs packages that are missing.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    dtype = dtype or best_dtype(config)
    try:
        if fits(config):
            return Llama(folder, dtype)  # what it needs is here
        from tuner.engine.huggingface import HuggingFace

        return HuggingFace(folder, dtype)
    except ImportError as error:
        raise EngineError(
            f"{folder} holds a {config.get('model_type')} model, which needs {error.name};"
            " install it with `pip install 'tuner[local-hf]'`"
        ) from error
    except (OSError, KeyError, ValueError) as error:
        raise EngineError(
            f"the model in {folder} cannot be loaded ({type(error).__name__}: {error});"
            " its files are damaged or incomplete: remove the folder and fetch it again"
        ) from error


def best_dtype(config: dict[str, Any]) -> torch.dtype:
    """bfloat16 for a model stored in 16 bits where the processor multiplies it, else float32."""
    stored = config.get("dtype") or config.get("torch_dtype") or "float32"
    fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001  there is no public question
    return torch.bfloat16 if fast and stored in {"bfloat16", "float16"} else torch.float32
