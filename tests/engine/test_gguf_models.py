from __future__ import annotations

import json

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer, pre_tokenizers

from tuner.engine import EngineError
from tuner.engine.base_models import silent
from tuner.engine.gguf_models import convert

WIDTH, INNER, HEADS, KEY_HEADS = 64, 96, 4, 2
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
TOKENS = [*LETTERS, "ab", "<|end|>"]


@pytest.fixture
def file(tmp_path):
    """A small Llama in Q4_1 as llama.cpp's converter writes it."""
    return written(tmp_path / "small.gguf", "llama")


def written(path, architecture):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (len(TOKENS) - 1) + [3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(TOKENS) - 1)
    writer.add_eos_token_id(len(TOKENS) - 1)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    random = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(TOKENS), WIDTH),
        "blk.0.attn_q": (WIDTH, WIDTH),
        "blk.0.attn_k": (WIDTH // 2, WIDTH),
        "blk.0.attn_v": (WIDTH // 2, WIDTH),
        "blk.0.attn_output": (WIDTH, WIDTH),
        "blk.0.ffn_gate": (INNER, WIDTH),
        "blk.0.ffn_up": (INNER, WIDTH),
        "blk.0.ffn_down": (WIDTH, INNER),
    }
    q4 = gguf.GGMLQuantizationType.Q4_1
    for name, shape in shapes.items():
        values = gguf.quants.quantize(random.standard_normal(shape).astype(np.float32), q4)
        writer.add_tensor(f"{name}.weight", values, raw_dtype=q4)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_weights_are_those_transformers_reads_from_the_file(tmp_path, file):
    import torch
    from safetensors.torch import load_file as load_torch
    from transformers import AutoModelForCausalLM, GgufConfig

    (tmp_path / "out").mkdir()
    convert(file, tmp_path / "out", silent)

    ours = load_torch(tmp_path / "out" / "model.safetensors")
    plain = {"gguf_file": file.name, "quantization_config": GgufConfig(dequantize=True)}
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16, **plain)
    other = theirs.state_dict()
    assert set(ours) | {"lm_head.weight"} == set(other)
    assert all(torch.equal(ours[name], other[name]) for name in ours)


def test_the_same_file_gives_the_same_bytes(tmp_path, file):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        convert(file, tmp_path / name, silent)

    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_digits_stand_alone_and_special_tokens_stay_whole(tmp_path, file):
    convert(file, tmp_path, silent)

    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("ab12<|end|>").tokens == ["ab", "1", "2", "<|end|>"]


def test_the_config_says_what_the_file_says(tmp_path, file):
    convert(file, tmp_path, silent)

    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert config["rms_norm_eps"] == 1e-5
    assert config["num_key_value_heads"] == KEY_HEADS
    assert config["tie_word_embeddings"] is True
    assert config["eos_token_id"] == len(TOKENS) - 1


def test_progress_counts_the_tensors(tmp_path, file):
    told = []

    convert(file, tmp_path, lambda what, done, total: told.append((what, done, total)))

    assert told == [("converting", n, 11) for n in range(1, 12)]


def test_another_kind_of_model_is_refused_by_name(tmp_path):
    other = written(tmp_path / "other.gguf", "gpt2")

    with pytest.raises(EngineError, match=r"other.gguf holds a gpt2 model"):
        convert(other, tmp_path, silent)


def test_bfloat16_is_rounded_to_the_nearest(tmp_path):
    from tuner.engine import safetensors_file

    values = np.array([1.0, 1.00390625, 1.005, -3.0e38, 1e-40, 0.0], dtype=np.float32)
    safetensors_file.write_safetensors(tmp_path / "x.safetensors", {"exact": values})

    assert np.array_equal(load_file(tmp_path / "x.safetensors")["exact"], values)
    bits = safetensors_file.to_bfloat16(values).astype(np.uint32) << 16
    assert list(bits.view(np.float32)[:3]) == [1.0, 1.0, 1.0078125]
