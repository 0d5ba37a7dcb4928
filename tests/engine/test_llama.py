from __future__ import annotations

import json

import pytest
import torch
from torch.nn import functional

from tests.engine.places import SMOLLM2, tiny
from tests.fakes.models import MODELS
from tuner.engine import Turn, lora
from tuner.engine.base_models import pull
from tuner.engine.batches import Row
from tuner.engine.chat import open_chat
from tuner.engine.llama import Llama, fits

PROMPTS = [(256, 5, 6, 7, 8), (256, 5, 6, 9), (256, 5, 6, 7, 8, 30, 31)]


@pytest.fixture(scope="module")
def model():
    return Llama(tiny(), torch.float32)


def theirs(folder):
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.slow
@torch.no_grad()
def test_the_logits_are_those_of_transformers(model):
    logits, _ = model.prefill(PROMPTS, None)

    other = theirs(tiny())
    expected = torch.stack([other(torch.tensor([row])).logits[0, -1] for row in PROMPTS])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_token_at_a_time_gives_the_logits_of_the_whole(model):
    rows = [torch.tensor(row) for row in PROMPTS]
    tail = torch.randint(0, 256, (len(rows), 70), generator=torch.Generator().manual_seed(1))

    _, cache = model.prefill(PROMPTS, None)
    for column in tail.T:
        logits = model.decode(column, cache, None)

    whole = [torch.cat(pair).tolist() for pair in zip(rows, tail, strict=True)]
    expected = torch.cat([model.prefill([row], None)[0] for row in whole])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_rows_that_leave_a_batch_do_not_disturb_the_others(model):
    _, cache = model.prefill(PROMPTS, None)
    cache.keep(torch.tensor([0, 2]))
    logits = model.decode(torch.tensor([3, 4]), cache, None)

    expected = [model.prefill([[*PROMPTS[n], token]], None)[0] for n, token in ((0, 3), (2, 4))]
    torch.testing.assert_close(logits, torch.cat(expected), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_many_long_rows_take_another_way_to_the_same_logits(model, monkeypatch):
    expected, _ = model.prefill(PROMPTS, None)
    monkeypatch.setattr("tuner.engine.attention.MAX_MATERIALIZED_SCORES", 0)

    logits, _ = model.prefill(PROMPTS, None)

    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shared", [0, 4])
def test_gradients_are_those_of_the_same_rows_one_by_one(model, shared):
    """Sharing the computation of a common beginning must not change what is learned."""
    begin = tuple(range(10, 10 + shared))
    rows = [Row((*begin, 5, 6), (7, 8)), Row((*begin, 9), (1,)), Row((*begin, 9, 9, 9), (1, 2))]

    def gradients(groups):
        adapter = trained(model)
        for group in groups:
            labels = torch.tensor([token for row in group for token in row.answer])
            logits = model.label_logits(group, adapter)
            functional.cross_entropy(logits, labels, reduction="sum").backward()
        return [tensor.grad for tensor in adapter.tensors.values()]

    together, apart = gradients([rows]), gradients([[row] for row in rows])

    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_a_new_adapter_changes_nothing(model):
    prepared = model.prepare(model.new_adapter(3))

    with torch.no_grad():
        assert torch.equal(model.prefill(PROMPTS, prepared)[0], model.prefill(PROMPTS, None)[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
def test_peft_loads_the_adapter_to_the_same_logits(model, tmp_path):
    from peft import PeftModel

    adapter = trained(model)
    lora.write(adapter, tmp_path / "adapter")

    with torch.no_grad():
        logits, _ = model.prefill(PROMPTS, model.prepare(lora.read(tmp_path / "adapter")))
        plain, _ = model.prefill(PROMPTS, None)
        other = PeftModel.from_pretrained(theirs(tiny()), tmp_path / "adapter")
        expected = torch.stack([other(torch.tensor([row])).logits[0, -1] for row in PROMPTS])
    assert not torch.allclose(logits, plain, atol=0.1)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_an_adapter_of_another_model_is_refused_by_name(model):
    adapter = model.new_adapter(0)
    name, tensor = next(iter(adapter.tensors.items()))
    odd = lora.Adapter(adapter.config, {**adapter.tensors, name: tensor[:, :-1]})

    with pytest.raises(Exception, match=r"does not fit its base model: .*q_proj"):
        model.prepare(odd)


@pytest.mark.parametrize(
    ("change", "ours"),
    [
        ({}, True),
        ({"model_type": "gpt2"}, False),
        ({"attention_bias": True}, False),
        ({"hidden_act": "gelu"}, False),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, False),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, True),
    ],
)
def test_what_this_llama_does_not_compute_is_left_to_transformers(change, ours):
    config = json.loads((tiny() / "config.json").read_text("utf-8"))

    assert fits(config | change) is ours


@pytest.mark.slow
@pytest.mark.model
@torch.no_grad()
def test_smollm2_gives_the_logits_of_transformers():
    folder = pull(SMOLLM2, MODELS)
    prompt = open_chat(folder).prompt((Turn("user", "What is the capital of France?"),))

    logits, _ = Llama(folder, torch.float32).prefill([prompt], None)

    expected = theirs(folder)(torch.tensor([prompt])).logits[:, -1]
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-4)


def trained(model):
    """An adapter that does something."""
    random = torch.Generator().manual_seed(7)
    adapter = model.new_adapter(0)
    tensors = {
        name: (tensor + 0.1 * torch.randn(tensor.shape, generator=random)).requires_grad_()
        for name, tensor in adapter.tensors.items()
    }
    return lora.Adapter(adapter.config, tensors)
