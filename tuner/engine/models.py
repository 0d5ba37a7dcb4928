"""The interface of base models, and the choice of the code that runs a model."""

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
    """Keys and values of the rows being generated."""

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these, given by index."""


class CausalModel(Protocol):
    """A frozen base model; adapters are passed to each call. B rows, V vocabulary."""

    @property
    def context(self) -> int:
        """Maximum tokens of prompt and answer together."""

    def new_adapter(self, seed: int) -> Adapter:
        """Create an adapter with no effect yet; deterministic for a seed."""

    def prepare(self, adapter: Adapter) -> Any:
        """Convert an adapter for ``prefill`` and ``decode``. Raises EngineError if it does not fit."""

    def trainable(self, adapter: Adapter) -> Adapter:
        """Return the adapter with gradients enabled, for ``label_logits``."""

    def label_logits(self, rows: Sequence[Row], adapter: Adapter) -> Tensor:
        """Return the logits before every answer token, row by row: (sum of answer lengths, V).

        The adapter comes from ``trainable``. Thread-safe.
        """

    def prefill(self, rows: Sequence[Sequence[int]], prepared: Any) -> tuple[Tensor, KeyValueCache]:
        """Read prompts; return the logits after each, (B, V). ``prepared`` None is the base model."""

    def decode(self, tokens: Tensor, cache: Any, prepared: Any) -> Tensor:
        """Read one more token per row, (B); return the logits after it, (B, V)."""


def load(folder: Path, dtype: torch.dtype | None = None) -> CausalModel:
    """Load a base model in Hugging Face's format.

    Args:
        folder: config.json and weights.
        dtype: To compute in; None chooses with ``best_dtype``.

    Raises:
        EngineError: The weights cannot be read, or a required package is missing.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    dtype = dtype or best_dtype(config)
    try:
        if fits(config):
            return Llama(folder, dtype)
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
    """Return bfloat16 for a model stored in 16 bits if the CPU supports it, else float32."""
    stored = config.get("dtype") or config.get("torch_dtype") or "float32"
    fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001  no public function
    return torch.bfloat16 if fast and stored in {"bfloat16", "float16"} else torch.float32
