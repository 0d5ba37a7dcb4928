"""What was found as it should be is told only where something of the job is news."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.jobs.ledger.test_ledger import EVALUATION, JOB
from tuner.events import effects, events
from tuner.events.findings import Findings
from tuner.types import Operation, Phase

DONE = replace(JOB, phase=Phase.DONE)
FOUND = (
    effects.Adopted(JOB),
    events.Progress(JOB, Operation("op", JOB.tuned_model, done=True)),
    events.Tuned(JOB),
    events.Evaluated(JOB, EVALUATION, kept=True),
    effects.Allowed(JOB, "no gate"),
    effects.AlreadyGranted(JOB, "ana"),
    effects.Stranger(JOB, "bo"),
    effects.AlreadyTransferred(JOB, "lead"),
)
UNCHANGED = events.Ended(DONE, changed=False)


def told(*given):
    heard = []
    findings = Findings(heard.append)
    for event in given:
        findings(event)
    return heard


def test_of_a_job_that_is_as_it_should_be_one_line_is_told():
    assert told(*FOUND, UNCHANGED) == [UNCHANGED]


@pytest.mark.parametrize(
    "news",
    [
        events.Progress(JOB, Operation("op", JOB.tuned_model)),
        events.Evaluated(JOB, EVALUATION),
        effects.Changing(JOB, "grant", "ana", ""),
        events.Waiting(JOB, "nobody answers", 1.0),
        events.Ended(DONE, changed=True),
    ],
)
def test_news_of_a_job_is_told_behind_all_that_waited_for_it(news):
    assert told(*FOUND, news, effects.AlreadyGranted(JOB, "bo")) == [
        *FOUND,
        news,
        effects.AlreadyGranted(JOB, "bo"),
    ]


def test_what_was_submitted_by_this_run_or_is_gone_on_with_is_told_at_once():
    for first in (effects.Submitted(JOB, 9), events.Tuned(JOB)):
        assert told(first, *FOUND) == [first, *FOUND]


def test_the_jobs_do_not_wait_for_each_other():
    other = replace(JOB, tuned_model="tunedModels/other")

    assert told(*FOUND, events.Tuned(other)) == [events.Tuned(other)]


def test_of_a_stage_that_is_as_it_should_be_nothing_is_told(tmp_path):
    path = tmp_path / "pipe.yaml"
    path.write_text("jobs: []")

    assert told(*FOUND, events.Ended(replace(DONE, spec=str(path)), changed=False)) == []


def test_it_is_known_of_which_jobs_there_was_news():
    other = replace(JOB, tuned_model="tunedModels/other")
    findings = Findings(lambda _event: None)
    findings(effects.Adopted(JOB))
    findings(events.Tuned(other))

    assert [findings.has_told(job) for job in (JOB, other)] == [False, True]
