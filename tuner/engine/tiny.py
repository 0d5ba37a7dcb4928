"""Create ``builtin:tiny``: a small random Llama with a byte tokenizer, equal on every machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tuner.engine import safetensors_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

VERSION = 1  # part of the folder's name; change it when the model changes
SEED = 20
SPECIAL = ("<|begin|>", "<|end|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|begin|>' + message['role'] + '\\n'"
    " + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|begin|>assistant\\n' }}{% endif %}"
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "float32",
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "vocab_size": 256 + len(SPECIAL),
    "tie_word_embeddings": False,
    "bos_token_id": 256,
    "eos_token_id": 257,
}


def make(folder: Path) -> None:
    """Write the model in Hugging Face's format, float32, about 0.5 MB."""
    safetensors_file.write_safetensors(folder / "model.safetensors", _weights())
    _tokenizer().save(str(folder / "tokenizer.json"))
    _write(folder / "config.json", CONFIG)
    tokens = {"bos_token": SPECIAL[0], "eos_token": SPECIAL[1], "chat_template": TEMPLATE}
    _write(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", **tokens},
    )


def _weights() -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(SEED)

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        values = random.standard_normal((rows, columns), dtype=np.float32)
        return values / np.float32(columns**0.5)

    width, inner, vocabulary = 64, 128, 256 + len(SPECIAL)
    weights = {
        "model.embed_tokens.weight": matrix(vocabulary, width),
        "model.norm.weight": _ones(width),
        "lm_head.weight": matrix(vocabulary, width),
    }
    shapes = {
        "self_attn.q_proj": (64, width),
        "self_attn.k_proj": (32, width),
        "self_attn.v_proj": (32, width),
        "self_attn.o_proj": (width, 64),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }
    for layer in range(2):
        for name, (rows, columns) in shapes.items():
            weights[f"model.layers.{layer}.{name}.weight"] = matrix(rows, columns)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{name}.weight"] = _ones(width)
    return weights


def _ones(width: int) -> NDArray[np.float32]:
    return np.ones(width, dtype=np.float32)


def _tokenizer() -> Tokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    return tokenizer


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
