"""A Hugging Face architecture other than Llama, tuned and asked through the engine."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace

import pytest
import torch

from tests.contract.test_engines import TASK, answer, asked, tuned
from tests.engine.places import EXAMPLES, tiny
from tuner.engine import TINY, models
from tuner.engine.process_engine import ProcessEngine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """A small random GPT-2 with the tiny model's byte tokenizer."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    sizes = {"n_positions": 256, "n_embd": 64, "n_layer": 2, "n_head": 4}
    config = GPT2Config(
        vocab_size=258, bos_token_id=256, eos_token_id=257, initializer_range=0.2, **sizes
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny() / name, folder)
    return folder


@torch.no_grad()
def test_a_token_at_a_time_gives_the_logits_of_the_whole(gpt2):
    model = models.load(gpt2)
    rows, tail = [(256, 5, 6, 7), (256, 9)], [[3, 4], [5, 6], [7, 8]]

    _, memory = model.prefill([*rows, (1, 2, 3)], None)
    model.decode(torch.tensor([t[0] for t in tail]), memory, None)
    memory.keep(torch.tensor([0, 1]))
    logits = model.decode(torch.tensor([t[1] for t in tail[:2]]), memory, None)

    whole = [model.prefill([[*row, *t]], None)[0] for row, t in zip(rows, tail, strict=False)]
    torch.testing.assert_close(logits, torch.cat(whole), atol=1e-4, rtol=1e-4)


def test_it_is_tuned_and_answers_the_same_every_time(gpt2, tmp_path):
    model = replace(TINY, name="models/gpt2", source=str(gpt2), input_token_limit=0)
    task = replace(TASK, base_model=model.name, epoch_count=12)

    async def work():
        engine = ProcessEngine({model.name: model}, tmp_path)
        try:
            steps, first = await tuned(engine, tmp_path / "a", task)
            _, second = await tuned(engine, tmp_path / "b", task)
            adapter = engine.adapter(tmp_path / "a")
            prompts = [
                replace(asked(example.text_input, adapter), base_model=model.name)
                for example in EXAMPLES[:4]
            ]
            answers = await asyncio.gather(*(answer(engine, prompt) for prompt in prompts))
            return steps, first, second, answers
        finally:
            await engine.close()

    steps, first, second, answers = asyncio.run(work())

    assert steps[-1].mean_loss < 0.3 * steps[0].mean_loss
    assert first == second
    assert {"".join(piece.text for piece in pieces) for pieces in answers} <= {"red", "blue"}
    peft_loads(gpt2, tmp_path / "a" / "adapter")


def peft_loads(base, adapter):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(base)
    ids = torch.tensor([[256, 5, 6]])
    ours = models.load(base)
    with torch.no_grad():
        from tuner.engine import lora

        logits, _ = ours.prefill(ids.tolist(), ours.prepare(lora.read(adapter)))
        other = PeftModel.from_pretrained(plain, adapter)(ids).logits[:, -1]
    torch.testing.assert_close(logits, other, atol=1e-4, rtol=1e-4)
