"""Sentence embeddings with a BERT in plain PyTorch: mean over the tokens, unit length.

Shapes: B texts, T tokens (padded), D width, H heads. Model and pooling as in sentence-transformers' MiniLM
(https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional

from tuner.engine import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

BATCH_ROWS = 32


class Embedder:
    """A loaded embedding model; about 90 MB for MiniLM."""

    def __init__(self, folder: Path) -> None:
        """Load a folder in Hugging Face's format. Raises EngineError if it is not a BERT."""
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if config.get("model_type") != "bert":
            raise EngineError(
                f"{folder} holds a {config.get('model_type')} model, and embeddings need a BERT"
                " such as all-MiniLM-L6-v2; declare that one",
                is_request=True,
            )
        self.layers: int = config["num_hidden_layers"]
        self.heads: int = config["num_attention_heads"]
        self.norm_eps: float = config["layer_norm_eps"]
        self.weights = load_file(folder / "model.safetensors")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.context = _context(folder, config["max_position_embeddings"])

    def count(self, text: str) -> int:
        """Count the tokens of a text, including the two special ones around it."""
        return len(self.tokenizer.encode(text).ids)

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one unit-length vector of D numbers per text; longer texts are truncated."""
        rows = [self._tokens(text) for text in texts]
        order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
        vectors: list[list[float]] = [[]] * len(rows)
        with torch.inference_mode():
            for start in range(0, len(order), BATCH_ROWS):
                part = order[start : start + BATCH_ROWS]
                found = self._forward([rows[number] for number in part]).tolist()
                for number, vector in zip(part, found, strict=True):
                    vectors[number] = vector
        return vectors

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids if len(ids) <= self.context else [*ids[: self.context - 1], ids[-1]]

    def _forward(self, rows: Sequence[list[int]]) -> Tensor:
        length = max(map(len, rows))
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        real = torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]
        x = self._embeddings(ids)
        for layer in range(self.layers):
            x = self._layer(f"encoder.layer.{layer}.", x, real)
        weights = real[..., None].to(x.dtype)
        return functional.normalize((x * weights).sum(1) / weights.sum(1), dim=-1)

    def _embeddings(self, ids: Tensor) -> Tensor:
        place = "embeddings."
        words = self.weights[f"{place}word_embeddings.weight"][ids]
        positions = self.weights[f"{place}position_embeddings.weight"][: ids.shape[1]]
        kind = self.weights[f"{place}token_type_embeddings.weight"][0]
        return self._norm(f"{place}LayerNorm", words + positions + kind)

    def _layer(self, place: str, x: Tensor, real: Tensor) -> Tensor:
        q, k, v = (
            self._linear(f"{place}attention.self.{name}", x)
            .view(*x.shape[:2], self.heads, -1)
            .transpose(1, 2)
            for name in ("query", "key", "value")
        )
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None])
        attended = attended.transpose(1, 2).flatten(2)
        attended = self._linear(f"{place}attention.output.dense", attended)
        x = self._norm(f"{place}attention.output.LayerNorm", x + attended)
        inner = functional.gelu(self._linear(f"{place}intermediate.dense", x))
        inner = self._linear(f"{place}output.dense", inner)
        return self._norm(f"{place}output.LayerNorm", x + inner)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.layer_norm(x, x.shape[-1:], weight, bias, self.norm_eps)


def _context(folder: Path, most: int) -> int:
    """The length sentence-transformers trained the model with, possibly below its maximum."""
    file = folder / "sentence_bert_config.json"
    settings = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return min(most, settings.get("max_seq_length") or most)
