"""A plan says what a run then does, and asks for it with reads alone."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.planning import JOB, asked, knowing, planned, run
from tests.fakes.target import TUNABLE, FakeTarget
from tests.fakes.work import WORK, job_of, right_answers, with_spec
from tuner.errors import NotAllowed, Unavailable
from tuner.evaluation import gate
from tuner.job import Evaluation
from tuner.jobs.store import Store
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.pipelines.load import LoadedFiles, LoadedJob
from tuner.pipelines.model import Grouping, Pipeline, Stage
from tuner.pipelines.plan import Action, exit_code, plan
from tuner.types import Feature, State, TargetConfig

BAD = Evaluation(gate.digest(WORK), "exact_match", {"exact_match": 0.0}, {"exact_match": 0.0}, 2)
CHAINED = with_spec(base_model="", tuned_model_source=JOB.tuned_model, job="second")


@pytest.fixture
def ledger(tmp_path):
    with Store(tmp_path / "ledger.db", lambda: 0.0) as opened:
        yield opened


# -- only reads ---------------------------------------------------------------------------------


def test_a_plan_reads_three_listings_and_asks_about_each_model_once(ledger):
    target = FakeTarget()
    works = [with_spec(job=f"job-{n}") for n in range(5)]

    items = planned(target, ledger, *works)

    assert {item.action for item in items} == {Action.CREATE}
    assert Counter(target.calls) == {"models": 1, "tuned_models": 2, "tuned_model": 5}


def test_a_plan_of_what_is_done_reads_its_permissions_and_changes_nothing(ledger, monkeypatch):
    target = knowing()
    run(target, ledger, monkeypatch)
    target.calls.clear()

    [item] = planned(target, ledger)

    assert item.action is Action.UNCHANGED
    assert Counter(target.calls) == {"models": 1, "tuned_models": 2, "permissions": 1}


# -- many, pipelines, and targets that cannot be asked ------------------------------------------


def test_a_model_tuned_from_another_of_the_plan_waits_for_it(ledger):
    first, second = planned(FakeTarget(), ledger, WORK, CHAINED)

    assert (first.action, second.action) == (Action.CREATE, Action.CREATE)
    assert second.reasons == (f"tuned from {JOB.tuned_model}, once that exists",)


def test_two_jobs_that_are_one_model_tune_it_once(ledger):
    twice = with_spec(grants=WORK.spec.grants[:1], transfer_ownership="x@example.com")

    first, second = planned(FakeTarget(), ledger, WORK, LoadedJob("twin", Path("b.yaml"), twice))

    assert first.tuned_model == second.tuned_model
    assert (first.action, second.action) == (Action.CREATE, Action.ADOPT)
    assert second.reasons == ("the same model as capitals",)
    assert second.changes == ("transfer to x@example.com",)


def pipeline(keep="best"):
    variants = [
        Stage(f"grid[{n}]", str(n), with_spec(job=f"v{n}"), (), "", "grid") for n in range(2)
    ]
    unknown = with_spec(base_model="", tuned_model_source="tunedModels/of-grid")
    polish = Stage("polish", "", unknown, ("grid",), "grid", "polish")
    groupings = (
        Grouping("grid", tuple(stage.name for stage in variants), keep),
        Grouping("polish", ("polish",)),
    )
    return Pipeline("p", Path("p.yaml"), (*variants, polish), groupings)


def test_the_stages_of_a_pipeline_are_planned_and_what_hangs_on_a_winner_comes_after(ledger):
    target = FakeTarget()

    items = planned(target, ledger, *LoadedFiles((pipeline(),)).jobs())

    assert [item.title for item in items] == ["grid[0]", "grid[1]", "polish"]
    assert [item.action for item in items] == [Action.CREATE, Action.CREATE, Action.AFTER]
    assert items[0].changes[:2] == ("tune", "evaluate")
    assert all(change.startswith("if selected: ") for change in items[0].changes[2:])
    assert items[2].reasons == ("tuned from the best of grid, once that is known",)
    assert items[2].tuned_model == ""
    assert Counter(target.calls)["tuned_model"] == 2


def test_where_all_are_kept_all_are_shared(ledger):
    items = planned(FakeTarget(), ledger, *LoadedFiles((pipeline("all"),)).jobs())

    assert "transfer to lead@example.com" in items[0].changes


def test_one_of_a_matrix_that_misses_the_gate_is_as_it_should_be_while_another_passes(
    ledger, monkeypatch
):
    made = pipeline()
    first, second = (stage.work for stage in made.stages[:2])
    target = FakeTarget(answers=right_answers(job_of(first).tuned_model))
    for work in (first, second):
        run(target, ledger, monkeypatch, work)

    def actions(target):
        items = planned(target, ledger, *LoadedFiles((made,)).jobs())
        return [item.action.value for item in items[:2]], exit_code(items[:2], is_detailed=True)

    assert actions(target) == (["unchanged", "unchanged"], 0)
    ledger.save(replace(ledger.find(JOB.where, job_of(first).tuned_model), evaluation=BAD))
    assert actions(target) == (["rejected", "rejected"], 3)


def test_what_a_target_lacks_is_said_though_nobody_may_ask_it(ledger):
    gemini = TargetConfig("gemini")
    chained, plain = replace(CHAINED.spec, target=gemini), replace(WORK.spec, target=gemini)
    works = (replace(CHAINED, spec=chained), replace(WORK, spec=plain))

    cannot, unknown = planned(NotAllowed("no credentials", "log in"), ledger, *works)

    assert cannot.action is Action.CANNOT
    assert "tunes base models only" in cannot.reasons[0]
    assert (unknown.action, unknown.reasons) == (Action.UNKNOWN, ("its target cannot be read",))
    assert str(unknown.error) == "error: no credentials\n  fix: log in"
    assert exit_code([cannot], is_detailed=False) == 2
    assert exit_code([unknown], is_detailed=False) == 4


def test_one_target_that_is_away_hides_no_other(ledger):
    there, target = asked(), FakeTarget()
    away = asked(replace(WORK, spec=replace(WORK.spec, target=TargetConfig("gemini"))))

    async def opened(config):
        if config.kind == "gemini":
            raise Unavailable("it is away")
        return target

    items = asyncio.run(plan([away, there, away], ledger, opened, lambda _: 7))

    assert [item.action for item in items] == [Action.UNKNOWN, Action.CREATE, Action.UNKNOWN]
    assert [item.tokens for item in items] == [7, 7, 7]
    assert exit_code(items, is_detailed=True) == 5


def test_a_stage_that_tunes_a_winner_further_needs_a_target_that_can(ledger):
    unknown = with_spec(base_model="", tuned_model_source="tunedModels/of-grid")
    there = asked(unknown, source="grid")
    gemini = replace(unknown, spec=replace(unknown.spec, target=TargetConfig("gemini")))

    items = planned(FakeTarget(), ledger, there, asked(gemini, source="grid"))

    assert [item.action for item in items] == [Action.AFTER, Action.CANNOT]


@pytest.mark.parametrize(
    ("action", "plain", "detailed"),
    [
        (Action.UNCHANGED, 0, 0),
        *((action, 0, 6) for action in ("create", "adopt", "resume", "drift", "after")),
        (Action.OWNER, 0, 4),
        (Action.REJECTED, 0, 3),
        (Action.FAILED, 0, 1),
        (Action.CANNOT, 2, 2),
        (Action.NOT_FOUND, 2, 2),
    ],
)
def test_each_action_has_its_exit_code(ledger, action, plain, detailed):
    [item] = planned(FakeTarget(), ledger)
    item = item._replace(action=Action(action))

    assert exit_code([item], is_detailed=False) == plain
    assert exit_code([item], is_detailed=True) == detailed
    assert exit_code([], is_detailed=True) == 0


def test_a_key_that_may_not_list_tuned_models_still_learns_what_cannot_be_tuned(ledger):
    class Keyed(FakeTarget):
        async def tuned_models(self, _query=""):
            raise NotAllowed("an API key stands for a project")

    fixed = with_spec(base_model="models/fixed")

    cannot, unknown = planned(Keyed(), ledger, fixed, WORK)

    assert (cannot.action, unknown.action) == (Action.CANNOT, Action.UNKNOWN)
    assert "createTunedModel is not among its methods" in cannot.reasons[0]
    assert (unknown.changes, unknown.error.what) == ((), "an API key stands for a project")


def test_sharing_that_a_key_cannot_do_is_said_before_anything_is_tuned(ledger):
    target = FakeTarget(lacks={Feature.SHARING: "a key is no person"})

    [item] = planned(target, ledger)

    assert item.action is Action.CANNOT
    assert item.is_blocked


def test_what_everybody_may_use_is_found_though_no_listing_shows_it(ledger):
    class Unlisted(FakeTarget):
        async def tuned_models(self, query=""):
            self.calls.append(f"tuned_models {query}".strip())
            return []

    target = Unlisted()
    asyncio.run(target.create(new_tuned_model(WORK)))
    target.held[JOB.tuned_model] = target.held[JOB.tuned_model]._replace(state=State.ACTIVE)

    [item] = planned(target, ledger, with_spec(transfer_ownership=""))

    assert item.action is Action.ADOPT


@pytest.mark.slow
def test_a_thousand_jobs_are_planned_within_a_second(ledger):
    works = [with_spec(job=f"job-{n}", base_model=TUNABLE.name) for n in range(1_000)]
    target = FakeTarget()
    begun = time.process_time()

    items = planned(target, ledger, *works)

    assert time.process_time() - begun < 1
    assert len(items) == 1_000
    assert len(target.calls) == 1_003
