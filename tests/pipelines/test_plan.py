"""A plan says what a run then does, and asks for it with reads alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.planning import JOB, asked, knowing, planned, run
from tests.fakes.target import FakeTarget
from tests.fakes.work import WORK, job_of, right_answers, with_spec
from tuner.errors import NotAllowed, RequestRefused, Unavailable
from tuner.evaluation import gate
from tuner.job import Evaluation
from tuner.jobs.runner import find_or_create_job
from tuner.jobs.store import Store
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.pipelines.load import LoadedFiles, LoadedJob
from tuner.pipelines.model import Grouping, Pipeline, Stage
from tuner.pipelines.plan import Action, exit_code, plan
from tuner.types import Grant, GranteeType, Phase, Role, State, TargetConfig

BAD = Evaluation(gate.digest(WORK), "exact_match", {"exact_match": 0.0}, {"exact_match": 0.0}, 2)
CHAINED = with_spec(base_model="", tuned_model_source=JOB.tuned_model, job="second")


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store.db", lambda: 0.0) as opened:
        yield opened


# -- only reads ---------------------------------------------------------------------------------


def test_a_plan_reads_three_listings_and_each_model_once(store):
    target = FakeTarget()
    works = [with_spec(job=f"job-{n}") for n in range(5)]

    items = planned(target, store, *works)

    assert {item.action for item in items} == {Action.CREATE}
    assert Counter(target.calls) == {"models": 1, "tuned_models": 2, "tuned_model": 5}


def test_a_plan_of_a_finished_job_reads_its_permissions(store, monkeypatch):
    target = knowing()
    run(target, store, monkeypatch)
    target.calls.clear()

    [item] = planned(target, store)

    assert item.action is Action.UNCHANGED
    assert Counter(target.calls) == {"models": 1, "tuned_models": 2, "permissions": 1}


# -- many, pipelines, and targets that cannot be asked ------------------------------------------


def test_a_model_tuned_from_another_of_the_plan_waits_for_it(store):
    first, second = planned(FakeTarget(), store, WORK, CHAINED)

    assert (first.action, second.action) == (Action.CREATE, Action.CREATE)
    assert second.reasons == (f"tuned from {JOB.tuned_model}, once that exists",)


def test_two_jobs_with_the_same_model_tune_it_once(store):
    twice = with_spec(grants=WORK.spec.grants[:1], transfer_ownership="x@example.com")

    first, second = planned(FakeTarget(), store, WORK, LoadedJob("twin", Path("b.yaml"), twice))

    assert first.tuned_model == second.tuned_model
    assert (first.action, second.action) == (Action.CREATE, Action.ADOPT)
    assert second.reasons == ("the same model as capitals",)
    assert second.changes == ("transfer to x@example.com",)


def pipeline():
    variants = [
        Stage(f"grid[{n}]", str(n), with_spec(job=f"v{n}"), (), "", "grid") for n in range(2)
    ]
    unknown = with_spec(base_model="", tuned_model_source="tunedModels/of-grid")
    polish = Stage("polish", "", unknown, ("grid",), "grid", "polish")
    groupings = (
        Grouping("grid", tuple(stage.name for stage in variants), "best"),
        Grouping("polish", ("polish",)),
    )
    return Pipeline("p", Path("p.yaml"), (*variants, polish), groupings)


def test_the_stages_of_a_pipeline_are_planned_in_order(store):
    target = FakeTarget()

    items = planned(target, store, *LoadedFiles((pipeline(),)).jobs())

    assert [item.title for item in items] == ["grid[0]", "grid[1]", "polish"]
    assert [item.action for item in items] == [Action.CREATE, Action.CREATE, Action.AFTER]
    assert items[0].changes[:2] == ("tune", "evaluate")
    assert all(change.startswith("if selected: ") for change in items[0].changes[2:])
    assert items[2].reasons == ("tuned from the best of grid, once that is known",)
    assert items[2].tuned_model == ""
    assert Counter(target.calls)["tuned_model"] == 2


def test_a_variant_that_misses_its_gate_is_unchanged_while_another_passes(store, monkeypatch):
    made = pipeline()
    first, second = (stage.work for stage in made.stages[:2])
    target = FakeTarget(answers=right_answers(job_of(first).tuned_model))
    for work in (first, second):
        run(target, store, monkeypatch, work)

    def actions(target):
        items = planned(target, store, *LoadedFiles((made,)).jobs())
        return [item.action.value for item in items[:2]], exit_code(items[:2], is_detailed=True)

    assert actions(target) == (["unchanged", "unchanged"], 0)
    store.save(replace(store.find(JOB.where, job_of(first).tuned_model), evaluation=BAD))
    assert actions(target) == (["rejected", "rejected"], 3)


def test_missing_features_are_reported_even_if_the_target_cannot_be_read(store):
    gemini = TargetConfig("gemini")
    chained, plain = replace(CHAINED.spec, target=gemini), replace(WORK.spec, target=gemini)
    works = (replace(CHAINED, spec=chained), replace(WORK, spec=plain))

    cannot, unknown = planned(NotAllowed("no credentials", "log in"), store, *works)

    assert cannot.action is Action.CANNOT
    assert "tunes base models only" in cannot.reasons[0]
    assert (unknown.action, unknown.reasons) == (Action.UNKNOWN, ("its target cannot be read",))
    assert str(unknown.error) == "error: no credentials\n  fix: log in"
    assert exit_code([cannot], is_detailed=False) == 2
    assert exit_code([unknown], is_detailed=False) == 4


def test_an_unavailable_target_does_not_hide_others(store):
    there, target = asked(), FakeTarget()
    away = asked(replace(WORK, spec=replace(WORK.spec, target=TargetConfig("gemini"))))

    async def opened(config):
        if config.kind == "gemini":
            raise Unavailable("it is away")
        return target

    items = asyncio.run(plan([away, there, away], store, opened, lambda _: 7))

    assert [item.action for item in items] == [Action.UNKNOWN, Action.CREATE, Action.UNKNOWN]
    assert [item.tokens for item in items] == [7, 7, 7]
    assert exit_code(items, is_detailed=True) == 5


def test_a_stage_tuned_from_the_best_variant_needs_chaining(store):
    unknown = with_spec(base_model="", tuned_model_source="tunedModels/of-grid")
    there = asked(unknown, source="grid")
    gemini = replace(unknown, spec=replace(unknown.spec, target=TargetConfig("gemini")))

    items = planned(FakeTarget(), store, there, asked(gemini, source="grid"))

    assert [item.action for item in items] == [Action.AFTER, Action.CANNOT]


def test_without_a_listing_an_untunable_base_model_is_still_reported(store):
    class Keyed(FakeTarget):
        async def tuned_models(self, _query=""):
            raise NotAllowed("an API key identifies a project")

    fixed = with_spec(base_model="models/fixed")

    cannot, unknown = planned(Keyed(), store, fixed, WORK)

    assert (cannot.action, unknown.action) == (Action.CANNOT, Action.UNKNOWN)
    assert "createTunedModel is not among its methods" in cannot.reasons[0]
    assert (unknown.changes, unknown.error.what) == ((), "an API key identifies a project")


def test_a_model_shared_with_everyone_is_found_without_a_listing(store):
    class Unlisted(FakeTarget):
        async def tuned_models(self, query=""):
            self.calls.append(f"tuned_models {query}".strip())
            return []

    target = Unlisted()
    asyncio.run(target.create(new_tuned_model(WORK)))
    target.held[JOB.tuned_model] = target.held[JOB.tuned_model]._replace(state=State.ACTIVE)

    [item] = planned(target, store, with_spec(transfer_ownership=""))

    assert item.action is Action.ADOPT


# -- a run does what its plan said -------------------------------------------------------------


def tuned(target, store, monkeypatch):
    run(target, store, monkeypatch)


def lost(target, store, monkeypatch):
    tuned(target, store, monkeypatch)
    store.forget(JOB)


def without_a_grant(target, store, monkeypatch):
    tuned(target, store, monkeypatch)
    held = target.shared[JOB.tuned_model]
    del held[next(name for name, each in held.items() if not each.grant.email_address)]


def with_another_role(target, store, monkeypatch):
    tuned(target, store, monkeypatch)
    held = target.shared[JOB.tuned_model]
    name = next(n for n, each in held.items() if each.grant.email_address == "ml@example.com")
    grant = Grant(Role.READER, GranteeType.USER, "ml@example.com")
    held[name] = held[name]._replace(grant=grant)


def tuning(target, store, _):
    asyncio.run(target.create(new_tuned_model(WORK)))
    [operation] = target.running
    store.save(replace(find_or_create_job(WORK, store), phase=Phase.TUNE, operation=operation))


def deleted(target, store, monkeypatch):
    tuned(target, store, monkeypatch)
    target.held.clear()
    target.shared.clear()
    found = store.find(JOB.where, JOB.tuned_model)
    store.save(replace(found, handed_to=""))


def failed(target, store, monkeypatch):
    target.tuning_error = "it diverged"
    tuned(target, store, monkeypatch)


def rejected(target, store, monkeypatch):
    target.answers = {}
    tuned(target, store, monkeypatch)


def nothing(*_):
    return None


def changed(target):
    """What was changed at the service, by kind."""
    return Counter(
        tune=target.creates,
        grant=target.grants,
        change=target.role_changes,
        transfer=target.transfers,
    )


WORLDS = {
    nothing: Action.CREATE,
    tuned: Action.UNCHANGED,
    lost: Action.ADOPT,
    without_a_grant: Action.DRIFT,
    with_another_role: Action.DRIFT,
    tuning: Action.RESUME,
    deleted: Action.CREATE,
    failed: Action.FAILED,
    rejected: Action.REJECTED,
}


@pytest.mark.parametrize("made", WORLDS, ids=lambda made: made.__name__)
@pytest.mark.slow
def test_a_run_does_what_its_plan_says_and_then_nothing_is_left(store, monkeypatch, made):
    target = knowing()
    made(target, store, monkeypatch)
    before = changed(target)

    [item] = planned(target, store)
    outcome = run(target, store, monkeypatch)
    [again] = planned(target, store)

    assert item.action is WORLDS[made]
    said = Counter(change.partition(" ")[0] for change in item.changes)
    assert changed(target) - before == said - Counter(evaluate=9)
    assert outcome.error is None
    assert again.action in (Action.UNCHANGED, Action.REJECTED, Action.FAILED)
    assert again.changes == ()


@pytest.mark.slow
def test_an_overruled_gate_is_planned_as_it_is_run(store, monkeypatch):
    target = knowing()
    rejected(target, store, monkeypatch)

    [item] = planned(target, store, asked(force=True))
    run(target, store, monkeypatch, force=True)

    assert item.action is Action.RESUME
    assert len(item.changes) == 3
    assert (target.grants, target.transfers) == (2, 1)
    assert planned(target, store)[0].action is Action.UNCHANGED


CHOSEN = with_spec(tuned_model_id=JOB.tuned_model.removeprefix("tunedModels/"))
OTHER_ROWS = replace(CHOSEN, examples=WORK.examples[1:])


@pytest.mark.slow
def test_a_chosen_id_with_other_examples_is_refused_by_plan_and_run(store, monkeypatch):
    target = knowing()
    run(target, store, monkeypatch, CHOSEN)

    [item] = planned(target, store, OTHER_ROWS)
    outcome = run(target, store, monkeypatch, OTHER_ROWS)

    assert item.action is Action.CANNOT
    assert "tuned on other examples" in item.reasons[0]
    assert isinstance(outcome.error, RequestRefused)
    assert "tuned on other examples" in outcome.error.what
    assert planned(target, store, CHOSEN)[0].changes == ()


@pytest.mark.slow
def test_an_earlier_force_share_does_not_overrule_the_gate_again(store, monkeypatch):
    target = knowing()
    rejected(target, store, monkeypatch)
    store.save(replace(store.find(JOB.where, JOB.tuned_model), force=True))

    assert planned(target, store)[0].action is Action.REJECTED


@pytest.mark.slow
def test_permissions_are_not_read_while_a_model_is_tuning(store, monkeypatch):
    target = knowing()
    tuning(target, store, monkeypatch)

    planned(target, store)

    assert "permissions" not in target.calls
