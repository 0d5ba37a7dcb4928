"""A whole run as it is told: to the screen, the log, the audit, a receiver, the lock."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.fakes.one_target import OneTarget
from tests.fakes.webhook import listening
from tuner.events.events import EventKind
from tuner.jobs import audit_log, lockfile, runner
from tuner.jobs.runner import Timing
from tuner.jobs.store import open_store
from tuner.jobspec.prepared_job import prepare_job

pytestmark = pytest.mark.slow  # whole runs, one a test


@pytest.fixture
def hook():
    with listening() as webhook:
        yield webhook


@pytest.fixture
def notifying(spec, hook):
    spec.write_text(f"{spec.read_text()}notify: [{{url: '{hook.url}?token=s3cret'}}]\n")
    return spec


def run(path, tell=lambda _: None):
    work = prepare_job(path)
    with open_store() as ledger:
        job = runner.find_or_create_job(work, ledger)
        (outcome,) = asyncio.run(runner.run_jobs([(job, work)], ledger, tell, Timing()))
    return outcome


def test_a_run_is_told_everywhere_and_another_tells_nobody_again(notifying, hook):
    job = run(notifying).job
    run(notifying)

    assert [headers["Tuner-Event"] for headers, _ in hook.requests] == ["done", "transferred"]
    assert {each["tuned_model"] for each in audit_log.read_log(audit_log.events_file())} == {
        job.tuned_model
    }
    assert lockfile.entry(notifying)["tuned_model"] == job.tuned_model
    audited = list(audit_log.read_log(audit_log.audit_file()))
    assert [(each["state"], each["action"]) for each in audited][:6] == [
        ("intended", "create"),
        ("done", "create"),
        ("intended", "grant"),
        ("done", "grant"),
        ("intended", "transfer"),
        ("done", "transfer"),
    ]
    assert {each["credentials"] for each in audited} == {OneTarget.target.caller}


def test_a_change_is_recorded_before_the_screen_shows_it(notifying):
    seen = []

    def screen(event):
        if event.kind is EventKind.CHANGING:
            (*_, last) = audit_log.read_log(audit_log.audit_file())
            seen.append(last["action"] == event["action"] and last["state"] == "intended")

    run(notifying, screen)

    assert seen == [True, True, True]


def test_a_run_that_cannot_be_audited_shares_nothing(notifying, hook):
    audit_log.audit_file().mkdir(parents=True)

    outcome = run(notifying)

    assert "audit log" in outcome.error.what
    assert outcome.error.exit_code == 1
    assert (OneTarget.target.creates, OneTarget.target.grants) == (0, 0)
    assert hook.requests == []


def test_what_one_run_was_killed_before_telling_another_tells(notifying, hook):
    job = run(notifying).job
    with open_store() as ledger, ledger.transaction() as db:
        db.execute("UPDATE notice SET state = 'due'")

    run(notifying)

    assert len(hook.deliveries) == 4
    assert len(set(hook.deliveries)) == 2
    assert {json.loads(body)["tuned_model"] for _, body in hook.requests} == {job.tuned_model}


def test_no_example_no_token_and_no_address_is_in_anything_that_is_told(notifying, hook):
    run(notifying)

    told = [body.decode() for _, body in hook.requests]
    told += [json.dumps(each) for each in audit_log.read_log(audit_log.events_file())]
    told += [json.dumps(each) for each in audit_log.read_log(audit_log.audit_file())]
    told.append((notifying.parent / lockfile.NAME).read_text())
    assert len(told) > 10
    for text in told:
        assert "question " not in text
        assert "answer " not in text
        assert "s3cret" not in text
        assert hook.url not in text
