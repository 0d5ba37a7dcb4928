"""Convert a GGUF file of a Llama to a folder in Hugging Face's format: bf16 weights, config, tokenizer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gguf import GGUFReader
from gguf.quants import dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tuner.engine import EngineError, safetensors_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tuner.engine.base_models import Progress

CONTROL_TOKEN = 3
LAYER_PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
OTHER_PARTS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}


def convert(gguf: Path, folder: Path, progress: Progress) -> None:
    """Write model.safetensors, config.json, tokenizer.json and tokenizer_config.json.

    Uses memory for the bf16 weights and one float32 tensor. Deterministic.

    Raises:
        EngineError: The file is not a Llama with a GPT-2 style tokenizer.
    """
    reader = GGUFReader(gguf)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    kind = fields.get("general.architecture"), fields.get("tokenizer.ggml.model")
    if kind != ("llama", "gpt2"):
        raise EngineError(
            f"{gguf.name} holds a {kind[0]} model with a {kind[1]} tokenizer; only Llama with gpt2"
            " can be converted: use a folder in Hugging Face's format instead"
        )
    weights = {}
    for number, tensor in enumerate(reader.tensors, start=1):
        values = dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        weights[_name(tensor.name)] = safetensors_file.to_bfloat16(
            _unpermuted(tensor.name, values, fields)
        )
        progress("converting", number, len(reader.tensors))
    safetensors_file.write_safetensors(folder / "model.safetensors", weights)
    _write(folder / "config.json", _config(fields, tied="lm_head.weight" not in weights))
    _tokenizer(fields).save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", _tokenizer_config(fields))


def _name(name: str) -> str:
    match name.split("."):
        case ["blk", layer, part, "weight"]:
            return f"model.layers.{layer}.{LAYER_PARTS[part]}.weight"
        case [part, "weight"]:
            return f"{OTHER_PARTS[part]}.weight"
    raise EngineError(f"the GGUF file holds a tensor {name!r} that is not part of a Llama")


def _unpermuted(name: str, values: NDArray[Any], fields: dict[str, Any]) -> NDArray[Any]:
    """Reorder q and k: GGUF pairs adjacent rows of a head, Hugging Face pairs its halves."""
    heads = {
        "attn_q.weight": fields["llama.attention.head_count"],
        "attn_k.weight": fields["llama.attention.head_count_kv"],
    }.get(name.partition(".")[2].partition(".")[2])
    if heads is None:
        return values
    rows, width = values.shape
    paired = values.reshape(heads, rows // heads // 2, 2, width)
    return paired.swapaxes(1, 2).reshape(rows, width)


def _config(fields: dict[str, Any], *, tied: bool) -> dict[str, Any]:
    heads, width = fields["llama.attention.head_count"], fields["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": fields.get("llama.rope.dimension_count", width // heads),
        "max_position_embeddings": fields["llama.context_length"],
        # GGUF stores float32, which has seven significant digits.
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.6e}"),
        "rope_theta": fields["llama.rope.freq_base"],
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": tied,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
    }


def _tokenizer(fields: dict[str, Any]) -> Tokenizer:
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Digits(individual_digits=True)
    smollm = fields.get("tokenizer.ggml.pre") == "smollm"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, letters]) if smollm else letters
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(tokens, fields["tokenizer.ggml.token_type"], strict=True)
    control = [token for token, kind in kinds if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in control])
    return tokenizer


def _tokenizer_config(fields: dict[str, Any]) -> dict[str, Any]:
    tokens = fields["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "add_bos_token": fields.get("tokenizer.ggml.add_bos_token", False),
        "chat_template": fields.get("tokenizer.chat_template"),
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
