"""What every engine must do, tried on the tiny model with real processes and files."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.engine.places import EXAMPLES, tiny
from tests.fakes.models import MODELS
from tuner.engine import (
    ENGINES,
    KNOWN_BASE_MODELS,
    TINY,
    EngineError,
    Prompt,
    TuningTask,
    Turn,
    WorkerDied,
    open_engine,
)

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("kind", ENGINES)]

TASK = TuningTask(TINY.name, EXAMPLES, epoch_count=8, batch_size=4, learning_rate=1e-2, seed=3)
PROMPT = Prompt(TINY.name, (Turn("user", "x"),), temperature=0.0, max_output_tokens=16)


def opened(kind):
    return open_engine(kind, KNOWN_BASE_MODELS | {TINY.name: TINY}, tiny().parent)


class Shared:
    """One engine, its loop, and a whole run, for all tests that leave them as they are."""

    def __init__(self, kind):
        self.runner = asyncio.Runner()
        self.engine = opened(kind)
        self.folder = TemporaryDirectory()
        self.whole = Path(self.folder.name)
        self.steps, self.content = self.runner.run(tuned(self.engine, self.whole))

    def close(self):
        self.runner.run(self.engine.close())
        self.runner.close()
        self.folder.cleanup()


@pytest.fixture(scope="module", autouse=True)
def _close_the_shared():
    yield
    for kind in ENGINES:
        shared(kind).close()


@cache
def shared(kind):
    return Shared(kind)


def with_engine(kind, work):
    """Run ``work(engine)`` on the engine of most tests."""
    return shared(kind).runner.run(work(shared(kind).engine))


def with_own_engine(kind, work, **settings):
    """Run ``work(engine)`` on a fresh engine and close it."""

    async def run():
        engine = opened(kind)
        for name, value in settings.items():
            setattr(engine, name, value)
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


async def tuned(engine, folder, task=TASK):
    """The steps of a whole run, and the bytes of what it made."""
    steps = [step async for step in engine.tune(task, folder)]
    return steps, (engine.adapter(folder) / "adapter_model.safetensors").read_bytes()


async def answer(engine, prompt):
    """All pieces."""
    return [piece async for piece in engine.generate(prompt)]


def test_tuning_reports_every_step_and_teaches(kind):
    adapter = shared(kind).whole / "adapter"
    steps = shared(kind).steps

    async def work(engine):
        prompts = [asked(example.text_input, adapter) for example in EXAMPLES]
        return await asyncio.gather(*(answer(engine, prompt) for prompt in prompts))

    answers = with_engine(kind, work)

    assert [step.step for step in steps] == list(range(1, TASK.total_steps + 1))
    assert [step.epoch for step in steps] == [n for n in range(1, 9) for _ in range(3)]
    assert steps[-1].mean_loss < 0.5 * steps[0].mean_loss
    assert all(step.tokens and step.compute_time for step in steps)
    said = {"".join(piece.text for piece in pieces) for pieces in answers}
    assert said <= {"red", "blue"}


def asked(text, adapter=None):
    return replace(PROMPT, turns=(Turn("user", text),), adapter=adapter)


def test_the_same_task_gives_the_same_bytes(kind, tmp_path):
    _, content = with_engine(kind, lambda engine: tuned(engine, tmp_path))

    assert content == shared(kind).content


@pytest.mark.parametrize("kill_at", [1, 5, 23])
def test_a_worker_killed_at_any_step_goes_on_to_the_same_bytes(kind, tmp_path, kill_at):
    async def work(engine):
        seen = []
        with pytest.raises(WorkerDied, match="signal 9"):
            await killed(engine, tmp_path / "killed", kill_at, seen.append)
        return seen, *(await tuned(engine, tmp_path / "killed"))

    seen, again, content = with_own_engine(kind, work, checkpoint_s=0.0)
    steps, whole = shared(kind).steps, shared(kind).content

    assert content == whole
    assert [step.mean_loss for step in again] == [step.mean_loss for step in steps]
    known = {step.step: step.mean_loss for step in again}
    assert all(known[step.step] == step.mean_loss for step in seen)


async def killed(engine, folder, kill_at, see):
    async for step in engine.tune(TASK, folder):
        see(step)
        if step.step == kill_at:
            os.kill(next(iter(engine.workers)).pid, signal.SIGKILL)


def test_closing_the_steps_ends_the_worker_and_keeps_its_work(kind, tmp_path):
    async def work(engine):
        async with aclosing(engine.tune(TASK, tmp_path)) as steps:
            async for step in steps:
                if step.step == 2:
                    (worker,) = engine.workers
                    break
        assert worker.returncode is not None
        assert not engine.adapter(tmp_path).exists()
        first = [step async for step in engine.tune(TASK, tmp_path)]
        return [step.step for step in first]

    assert with_engine(kind, work) == list(range(1, TASK.total_steps + 1))
    assert (tmp_path / "checkpoint.safetensors").exists()


def test_a_finished_task_is_told_again_and_not_done_again(kind):
    whole = shared(kind).whole
    made = (whole / "adapter").stat().st_mtime_ns

    again = with_engine(kind, lambda engine: tuned(engine, whole))

    assert again == (shared(kind).steps, shared(kind).content)
    assert (whole / "adapter").stat().st_mtime_ns == made


def test_a_folder_is_for_one_task(kind):
    other = replace(TASK, seed=4)

    with pytest.raises(EngineError, match="another tuning task"):
        with_engine(kind, lambda engine: tuned(engine, shared(kind).whole, other))


def test_two_runs_of_one_folder_take_turns(kind, tmp_path):
    async def work(engine):
        return await asyncio.gather(tuned(engine, tmp_path), tuned(engine, tmp_path))

    (one, first), (other, second) = with_engine(kind, work)

    assert first == second
    assert [step.mean_loss for step in one] == [step.mean_loss for step in other]


def test_tuning_goes_on_from_a_tuned_model(kind, tmp_path):
    child = replace(TASK, parent=shared(kind).whole / "adapter", epoch_count=1)

    steps, content = with_engine(kind, lambda engine: tuned(engine, tmp_path, child))

    assert steps[0].mean_loss < 0.5 * shared(kind).steps[0].mean_loss
    assert content != shared(kind).content


def test_an_example_that_does_not_fit_is_the_requests_fault(kind, tmp_path):
    long = EXAMPLES[0]._replace(text_input="x" * 3000, line=7)

    async def work(engine):
        await tuned(engine, tmp_path, replace(TASK, examples=(long,)))

    with pytest.raises(EngineError, match=r"line 7\) has 3\d\d\d tokens") as refused:
        with_engine(kind, work)
    assert refused.value.is_request


def test_a_model_that_cannot_be_tuned_is_refused_with_those_that_can(kind, tmp_path):
    async def work(engine):
        await tuned(engine, tmp_path, replace(TASK, base_model="models/all-minilm-l6-v2"))

    with pytest.raises(EngineError, match=r"use one of: .*models/tiny") as refused:
        with_engine(kind, work)
    assert refused.value.is_request


def test_many_answers_at_once_are_those_given_alone(kind):
    texts = [f"question {n}" * (n % 5) for n in range(30)]

    async def work(engine):
        together = await asyncio.gather(*(answer(engine, asked(text)) for text in texts))
        alone = [await answer(engine, asked(text)) for text in texts[:5]]
        return together, alone

    together, alone = with_engine(kind, work)

    assert together[:5] == alone
    assert all(pieces[-1].finish_reason for pieces in together)


def test_one_base_serves_many_adapters_at_once(kind, tmp_path):
    other = replace(TASK, examples=tuple(e._replace(output="green") for e in EXAMPLES))

    async def work(engine):
        await tuned(engine, tmp_path, other)
        adapters = shared(kind).whole / "adapter", engine.adapter(tmp_path)
        text = EXAMPLES[1].text_input
        prompts = [asked(text, adapter) for adapter in (*adapters, None)]
        return await asyncio.gather(*(answer(engine, prompt) for prompt in prompts))

    colour, green, base = ("".join(p.text for p in pieces) for pieces in with_engine(kind, work))

    assert colour in {"red", "blue"}
    assert green == "green"
    assert base not in {"red", "blue", "green"}


def test_leaving_an_answer_frees_its_place(kind):
    endless = replace(PROMPT, max_output_tokens=2000)

    async def work(engine):
        async with aclosing(engine.generate(endless)) as pieces:
            await anext(pieces)
        return await answer(engine, PROMPT), engine.inference.child.answers

    pieces, waiting = with_engine(kind, work)

    assert pieces[-1].finish_reason == "MAX_TOKENS"
    assert waiting == {}


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(kind):
    async def work(engine):
        await answer(engine, asked("x" * 3000))

    with pytest.raises(EngineError, match=r"has 3\d\d\d tokens.*at most 2048") as refused:
        with_engine(kind, work)
    assert refused.value.is_request


def test_after_the_inference_process_died_the_next_question_is_answered(kind):
    endless = replace(PROMPT, max_output_tokens=2000)

    async def work(engine):
        pieces = engine.generate(endless)
        await anext(pieces)
        os.kill(engine.inference.child.process.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="signal 9"):
            [piece async for piece in pieces]
        return await answer(engine, PROMPT)

    assert with_own_engine(kind, work)[-1].finish_reason


def test_tokens_are_counted_with_the_template(kind):
    async def work(engine):
        return await engine.count_tokens(asked("hello"))

    assert with_engine(kind, work) == len("<user\nhello><assistant\n")


def test_a_model_that_cannot_embed_says_which_can(kind):
    async def work(engine):
        await engine.embed(TINY.name, ["x"])

    with pytest.raises(EngineError, match="use one of: models/all-minilm-l6-v2"):
        with_engine(kind, work)


def test_closing_the_engine_leaves_no_process(kind, tmp_path):
    async def work(engine):
        await answer(engine, PROMPT)
        steps = engine.tune(TASK, tmp_path)
        await anext(steps)
        children = [engine.inference.child.process, *engine.workers]
        await engine.close()
        with pytest.raises(EngineError):
            [step async for step in steps]
        return [child.returncode for child in children]

    assert None not in with_own_engine(kind, work)


def test_a_worker_ends_when_its_parent_is_gone(kind, tmp_path):
    async def work(engine):
        steps = engine.tune(TASK, tmp_path)
        await anext(steps)
        (worker,) = engine.workers
        worker.stdin.close()
        await worker.wait()
        await steps.aclose()
        return worker.returncode

    assert with_own_engine(kind, work) == 0
    assert (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.model
def test_vectors_have_length_one_and_like_texts_are_near(kind):
    async def work(engine):
        engine.inference.setup["models_folder"] = MODELS
        texts = ["A cat sleeps.", "The kitten naps.", "Interest rates rose."]
        return await engine.embed("models/all-minilm-l6-v2", texts)

    cat, kitten, rates = with_own_engine(kind, work)

    def near(one, other):
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert all(abs(near(vector, vector) - 1) < 1e-5 for vector in (cat, kitten, rates))
    assert near(cat, kitten) > near(cat, rates) + 0.3
