"""Answers are requested once, cached, and kept in the local store."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.fakes.target import FakeTarget
from tests.fakes.work import WORK
from tests.jobs.test_store import EVALUATION, JOB, opened
from tuner.errors import NotFinished, TuningFailed
from tuner.evaluation.answering import identity
from tuner.job import ScoredRow
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.types import State


def target_with_model(state):
    """A target with one tuned model, and the model's name."""
    target = FakeTarget()
    asyncio.run(target.create(new_tuned_model(WORK)))
    [name] = target.held
    target.held[name] = target.held[name]._replace(state=state, create_time=1.5)
    return target, name


@pytest.mark.parametrize(
    ("state", "error"), [(State.CREATING, NotFinished), (State.FAILED, TuningFailed)]
)
def test_a_model_that_cannot_answer_is_an_error(state, error):
    with pytest.raises(error, match="tunedModels/"):
        asyncio.run(identity(*target_with_model(state)))


def test_the_identity_of_a_tuned_model_has_its_create_time_and_that_of_a_base_model_its_name():
    target, name = target_with_model(State.ACTIVE)

    assert asyncio.run(identity(target, name)) == f"{name}@1.5"
    target.calls.clear()
    assert asyncio.run(identity(target, "models/tiny")) == "models/tiny"
    assert target.calls == []


DONE = replace(JOB, evaluation=EVALUATION)


MODEL = f"{JOB.tuned_model}@1.5"


def test_answers_are_found_by_target_model_and_question(tmp_path):
    with opened(tmp_path / "l.db") as store:
        asyncio.run(store.answers("here").keep(MODEL, {"q1": "Lima", "q2": "東京\n🙂"}))
        asyncio.run(store.answers("here").keep(MODEL, {"q1": "Rome"}))

    with opened(tmp_path / "l.db") as store:
        kept = store.answers("here")
        assert kept.find(MODEL, ["q1", "q2", "q3"]) == {"q1": "Rome", "q2": "東京\n🙂"}
        assert kept.find("models/tiny", ["q1"]) == {}
        assert store.answers("there").find(MODEL, ["q1"]) == {}


def test_many_questions_are_all_found(tmp_path):
    many = {f"q{n}": f"a{n}" for n in range(1203)}
    with opened(tmp_path / "l.db") as store:
        asyncio.run(store.answers("here").keep(MODEL, many))

        assert store.answers("here").find(MODEL, many) == many


def test_evaluation_rows_are_loaded_separately_from_the_job(tmp_path):
    with opened(tmp_path / "l.db") as store:
        store.save(DONE)
        found = store.find(JOB.where, JOB.tuned_model)

        assert found.evaluation.rows == ()
        assert store.evaluation_rows(found) == EVALUATION.rows
        assert store.evaluation_rows(JOB) == ()


def test_only_the_rows_of_the_latest_evaluation_are_stored(tmp_path):
    other = replace(EVALUATION, digest="d2", rows=(ScoredRow("Italy", "Rome", "Rome", "?"),))
    with opened(tmp_path / "l.db") as store:
        store.save(DONE)
        store.save(replace(DONE, evaluation=other))

        assert store.evaluation_rows(replace(DONE, evaluation=other)) == other.rows
        assert store.evaluation_rows(DONE) == ()


def test_a_forgotten_job_loses_its_answers_but_not_those_of_its_base_model(tmp_path):
    with opened(tmp_path / "l.db") as store:
        store.save(DONE)
        kept = store.answers(JOB.where)
        for model in (MODEL, f"{JOB.tuned_model}-2@1.5", "models/tiny"):
            asyncio.run(kept.keep(model, {"q": "a"}))

        store.forget(DONE)

        assert store.evaluation_rows(DONE) == ()
        assert kept.find(MODEL, ["q"]) == {}
        assert kept.find(f"{JOB.tuned_model}-2@1.5", ["q"]) == {"q": "a"}
        assert kept.find("models/tiny", ["q"]) == {"q": "a"}
