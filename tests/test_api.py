"""What the functions of `tuner` do, each as such and as a coroutine."""

from __future__ import annotations

import asyncio

import pytest

import tuner
from tests.fakes import one_target
from tests.fakes.one_target import OneTarget
from tuner import targets
from tuner.errors import InvalidInput
from tuner.types import Phase

GEMINI = targets.TARGETS["gemini"]._replace(opener=f"{one_target.__name__}:open_fake")


def test_a_plan_says_what_run_then_does(spec):
    [before] = tuner.plan(spec)
    tuner.run(spec)
    [after] = tuner.plan(spec.parent)

    assert (before.action, after.action) == ("create", "unchanged")
    assert before.changes[-1] == "transfer to lead@example.com"
    assert after.job.phase is Phase.DONE


def test_what_was_validated_is_planned_as_it_is_and_all_problems_are_said_at_once(spec):
    given = {"job": "capitals", "base_model": "models/tiny"}
    work = tuner.validate(given, examples=[(f"input {n}", f"output {n}") for n in range(30)])

    [one, two] = tuner.plan(work, spec)
    assert [len(one.work.examples), two.work.spec.path] == [30, spec]

    with pytest.raises(InvalidInput) as caught:
        tuner.plan(spec.with_name("gone.yaml"), spec, spec.with_name("none.yaml"))
    assert len(caught.value.problems) == 2


def test_a_plan_for_another_target_says_what_that_lacks(spec, monkeypatch):
    monkeypatch.setitem(targets.TARGETS, "gemini", GEMINI)
    OneTarget.target.base_models = ()

    [item] = tuner.plan(spec, target="gemini")

    assert item.action == "model not found"
    assert item.work.spec.target.kind == "gemini"


def test_submit_sends_it_and_run_goes_on_from_there(spec):
    job = tuner.submit(spec)

    assert job.phase is Phase.TUNE
    assert OneTarget.target.creates == 1
    assert [each.phase for each in tuner.status(job.tuned_model)] == [Phase.TUNE]
    assert tuner.run(spec).job.phase is Phase.DONE
    assert [each.phase for each in tuner.status()] == [Phase.DONE]
    assert tuner.status("nobody") == []
    assert OneTarget.target.creates == 1


def test_a_gate_is_overruled_where_that_is_asked_for(spec):
    OneTarget.target.answers = {}

    assert tuner.run(spec).job.phase is Phase.REJECTED
    job = tuner.run(spec, force_share=True).job

    assert job.phase is Phase.DONE
    assert job.allowed.startswith("forced by --force-share")


@pytest.mark.slow
def test_a_pipeline_is_run_to_its_end(spec):
    path = spec.with_name("pipeline.yaml")
    path.write_text("pipeline: one\njobs: [capitals.yaml]\n")

    ended = tuner.run_pipeline(path)
    again = asyncio.run(tuner.aio.run_pipeline(str(path), ["max_parallel=1"]))

    assert ended.failure is None
    assert list(ended.states) == ["capitals"]
    assert again.outcomes["capitals"].job.phase is Phase.DONE
    assert OneTarget.target.creates == 1


def test_the_coroutines_do_the_same_in_a_loop_of_ones_own(spec):
    async def all_of_them():
        [item] = await tuner.aio.plan(spec)
        job = await tuner.aio.submit(spec)
        outcome = await tuner.aio.run(spec)
        return item, job, outcome, await tuner.aio.status()

    item, job, outcome, known = asyncio.run(all_of_them())

    assert item.tuned_model == job.tuned_model
    assert outcome.job.phase is Phase.DONE
    assert [each.tuned_model for each in known] == [job.tuned_model]


@pytest.mark.parametrize("name", ["plan", "run", "submit"])
def test_each_function_runs_where_a_loop_is_running(spec, name):
    async def cell():
        return getattr(tuner, name)(spec)

    assert asyncio.run(cell())
