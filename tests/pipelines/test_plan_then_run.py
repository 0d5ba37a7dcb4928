"""A run changes what its plan said, whatever the world was like; then there is nothing to do."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from tests.fakes.planning import JOB, asked, knowing, planned, run
from tests.fakes.work import WORK, with_spec
from tuner.errors import RequestRefused
from tuner.jobs import runner
from tuner.jobs.store import Store
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.pipelines.plan import Action
from tuner.types import Grant, GranteeType, Phase, Role

pytestmark = pytest.mark.slow


@pytest.fixture
def ledger(tmp_path):
    with Store(tmp_path / "ledger.db", lambda: 0.0) as opened:
        yield opened


def tuned(target, ledger, monkeypatch):
    run(target, ledger, monkeypatch)


def lost(target, ledger, monkeypatch):
    tuned(target, ledger, monkeypatch)
    ledger.forget(JOB)


def without_a_grant(target, ledger, monkeypatch):
    tuned(target, ledger, monkeypatch)
    held = target.shared[JOB.tuned_model]
    del held[next(name for name, each in held.items() if not each.grant.email_address)]


def with_another_role(target, ledger, monkeypatch):
    tuned(target, ledger, monkeypatch)
    held = target.shared[JOB.tuned_model]
    name = next(n for n, each in held.items() if each.grant.email_address == "ml@example.com")
    grant = Grant(Role.READER, GranteeType.USER, "ml@example.com")
    held[name] = held[name]._replace(grant=grant)


def tuning(target, ledger, _):
    asyncio.run(target.create(new_tuned_model(WORK)))
    [operation] = target.running
    ledger.save(
        replace(runner.find_or_create_job(WORK, ledger), phase=Phase.TUNE, operation=operation)
    )


def deleted(target, ledger, monkeypatch):
    tuned(target, ledger, monkeypatch)
    target.held.clear()
    target.shared.clear()
    found = ledger.find(JOB.where, JOB.tuned_model)
    ledger.save(replace(found, handed_to=""))


def failed(target, ledger, monkeypatch):
    target.tuning_error = "it diverged"
    tuned(target, ledger, monkeypatch)


def rejected(target, ledger, monkeypatch):
    target.answers = {}
    tuned(target, ledger, monkeypatch)


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
def test_a_run_changes_what_its_plan_said_and_then_there_is_nothing_to_do(
    ledger, monkeypatch, made
):
    target = knowing()
    made(target, ledger, monkeypatch)
    before = changed(target)

    [item] = planned(target, ledger)
    outcome = run(target, ledger, monkeypatch)
    [again] = planned(target, ledger)

    assert item.action is WORLDS[made]
    said = Counter(change.partition(" ")[0] for change in item.changes)
    assert changed(target) - before == said - Counter(evaluate=9)
    assert outcome.error is None
    assert again.action in (Action.UNCHANGED, Action.REJECTED, Action.FAILED)
    assert again.changes == ()


def test_a_gate_that_is_overruled_is_planned_as_it_is_run(ledger, monkeypatch):
    target = knowing()
    rejected(target, ledger, monkeypatch)

    [item] = planned(target, ledger, asked(force=True))
    run(target, ledger, monkeypatch, force=True)

    assert item.action is Action.RESUME
    assert len(item.changes) == 3
    assert (target.grants, target.transfers) == (2, 1)
    assert planned(target, ledger)[0].action is Action.UNCHANGED


CHOSEN = with_spec(tuned_model_id=JOB.tuned_model.removeprefix("tunedModels/"))
OTHER_ROWS = replace(CHOSEN, examples=WORK.examples[1:])


def test_an_id_of_ones_own_that_stands_for_other_examples_is_refused_by_plan_and_run(
    ledger, monkeypatch
):
    target = knowing()
    run(target, ledger, monkeypatch, CHOSEN)

    [item] = planned(target, ledger, OTHER_ROWS)
    outcome = run(target, ledger, monkeypatch, OTHER_ROWS)

    assert item.action is Action.CANNOT
    assert "tuned from other examples" in item.reasons[0]
    assert isinstance(outcome.error, RequestRefused)
    assert "tuned from other examples" in outcome.error.what
    assert planned(target, ledger, CHOSEN)[0].changes == ()


def test_an_id_of_ones_own_is_used_again_once_its_model_is_deleted(ledger, monkeypatch):
    target = knowing()
    run(target, ledger, monkeypatch, CHOSEN)
    target.held.clear()
    target.shared.clear()
    ledger.save(replace(ledger.find(JOB.where, JOB.tuned_model), handed_to=""))

    outcome = run(target, ledger, monkeypatch, OTHER_ROWS)

    assert outcome.job.phase is Phase.DONE
    assert target.creates == 2
    assert planned(target, ledger, OTHER_ROWS)[0].action is Action.UNCHANGED


def test_a_gate_that_was_overruled_in_a_run_of_before_is_not_overruled_for_good(
    ledger, monkeypatch
):
    target = knowing()
    rejected(target, ledger, monkeypatch)
    ledger.save(replace(ledger.find(JOB.where, JOB.tuned_model), force=True))

    assert planned(target, ledger)[0].action is Action.REJECTED


def test_who_may_use_a_model_is_not_asked_while_it_is_tuning(ledger, monkeypatch):
    target = knowing()
    tuning(target, ledger, monkeypatch)

    planned(target, ledger)

    assert "permissions" not in target.calls
