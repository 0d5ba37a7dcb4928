"""Who is asked: a model that can answer, and the very one that answered before."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.target import FakeTarget
from tests.fakes.work import WORK
from tuner.errors import NotFinished, TuningFailed
from tuner.evaluation.answering import identity
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.types import State


def holding(state):
    """A target with one tuned model, and the model's name."""
    target = FakeTarget()
    asyncio.run(target.create(new_tuned_model(WORK)))
    [name] = target.held
    target.held[name] = target.held[name]._replace(state=state, create_time=1.5)
    return target, name


@pytest.mark.parametrize(
    ("state", "error"), [(State.CREATING, NotFinished), (State.FAILED, TuningFailed)]
)
def test_a_model_that_cannot_answer_is_not_asked(state, error):
    with pytest.raises(error, match="tunedModels/"):
        asyncio.run(identity(*holding(state)))


def test_a_model_is_told_from_another_of_its_name_and_a_base_model_is_not_looked_up():
    target, name = holding(State.ACTIVE)

    assert asyncio.run(identity(target, name)) == f"{name}@1.5"
    target.calls.clear()
    assert asyncio.run(identity(target, "models/tiny")) == "models/tiny"
    assert target.calls == []
