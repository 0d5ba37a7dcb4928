from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from tests.engine.places import EXAMPLES, tiny
from tuner.engine import batches, checkpoint, train
from tuner.engine.batches import Row
from tuner.engine.chat import open_chat
from tuner.engine.llama import Llama
from tuner.engine.train import TrainingPlan

pytestmark = pytest.mark.slow

PLAN = TrainingPlan(epoch_count=3, batch_size=4, learning_rate=1e-2, seed=5, threads=2)


@pytest.fixture(scope="module")
def model():
    return Llama(tiny(), torch.float32)


@pytest.fixture(scope="module")
def rows():
    return batches.rows(EXAMPLES, open_chat(tiny()), 200)


def run(model, rows, progress=None, steps=None):
    progress = progress or checkpoint.initial_progress(model.new_adapter(PLAN.seed))
    model.trainable(progress.adapter)
    done = list(itertools.islice(train.train(model, rows, PLAN, progress), steps))
    return [step for step, _ in done], done[-1][1]


def same(one, other):
    pairs = zip(one.adapter.tensors.values(), other.adapter.tensors.values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def test_the_loss_falls(model, rows):
    steps, _ = run(model, rows)

    assert steps[-1].mean_loss < 0.5 * steps[0].mean_loss


def test_steps_are_numbered_with_their_epochs_and_tokens(model, rows):
    steps, _ = run(model, rows)

    assert [(step.step, step.epoch) for step in steps] == [
        *((1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2), (7, 3), (8, 3), (9, 3))
    ]
    assert sum(step.tokens for step in steps) == 3 * sum(map(len, rows))


def test_a_rerun_gives_the_same_bits(model, rows):
    assert same(run(model, rows)[1], run(model, rows)[1])


def test_another_seed_gives_other_bits(model, rows):
    other = checkpoint.initial_progress(model.new_adapter(PLAN.seed + 1))

    assert not same(run(model, rows)[1], run(model, rows, other)[1])


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_run_cut_after_any_step_goes_on_to_the_same_bits(model, rows, tmp_path, cut):
    _, half = run(model, rows, steps=cut)
    checkpoint.save_checkpoint(tmp_path, half)

    later, resumed = run(model, rows, checkpoint.load_checkpoint(tmp_path))

    assert later[0].step == cut + 1
    assert same(resumed, run(model, rows)[1])


def test_the_loss_is_the_mean_over_the_output_tokens_only(model):
    """A prompt's tokens, however unlikely, must not count: here by hand, a token at a time."""
    batch = [Row((256, 1, 2, 3), (4, 5, 257)), Row((256, 9), (257,))]
    progress = checkpoint.initial_progress(model.trainable(model.new_adapter(0)))

    with torch.no_grad():
        losses = [
            -model.prefill([[*row.prompt, *row.answer[:n]]], None)[0].log_softmax(-1)[0, token]
            for row in batch
            for n, token in enumerate(row.answer)
        ]

    with train.thread_pool(2, 2) as threads:
        loss = train.training_step(model, [[row] for row in batch], progress, 1e-3, threads)

    assert loss == pytest.approx(float(sum(losses) / 4), rel=1e-4)


def test_the_rate_goes_up_in_a_line_and_down_in_a_line():
    shares = [train.schedule(step, 20) for step in range(1, 21)]

    assert shares[:2] == [0.5, 1.0]
    assert shares == [*shares[:2], *sorted(shares[2:], reverse=True)]
    assert 0 < shares[-1] < 0.06


def test_threads_share_a_batch_and_learn_the_same(model, rows):
    alone = list(train.train(model, rows, replace(PLAN, threads=1), started(model)))

    shared = list(train.train(model, rows, replace(PLAN, threads=3), started(model)))

    losses = [[step.mean_loss for step, _ in run] for run in (alone, shared)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def started(model):
    return checkpoint.initial_progress(model.trainable(model.new_adapter(PLAN.seed)))


def test_a_batch_in_parts_is_one_step(model, rows, monkeypatch):
    whole = run(model, rows, steps=1)[0][0].mean_loss
    monkeypatch.setattr(batches.micro, "__defaults__", (60,))

    assert len(list(batches.micro(rows[:4]))) > 1
    assert run(model, rows, steps=1)[0][0].mean_loss == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("size", [0.01, 10.0])
def test_adamw_equals_that_of_torch(size):
    random = torch.Generator().manual_seed(0)
    ours = {name: torch.randn(5, 3, generator=random) for name in "ab"}
    theirs = [tensor.clone().requires_grad_() for tensor in ours.values()]
    other = torch.optim.AdamW(theirs, lr=1e-2, weight_decay=train.WEIGHT_DECAY)
    moments = train.zero_moments(ours)
    for step in range(1, 6):
        gradients = [size * torch.randn(5, 3, generator=random) for _ in theirs]
        for tensor, gradient in zip(theirs, gradients, strict=True):
            tensor.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_(theirs, train.MAX_GRAD_NORM)
        other.step()
        train.adamw_step(ours, gradients, moments, step, 1e-2)

    for mine, its in zip(ours.values(), theirs, strict=True):
        torch.testing.assert_close(mine, its)
