"""What was found as it should be is told only where something of the job is news."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.jobs.test_store import EVALUATION, JOB
from tuner.events.events import Event, EventKind
from tuner.events.reporters import NewsFilter
from tuner.types import Operation, Phase

DONE = replace(JOB, phase=Phase.DONE)
FOUND = (
    Event(EventKind.ALREADY_EXISTED, JOB),
    Event(EventKind.PROGRESS, JOB, operation=Operation("op", JOB.tuned_model, done=True)),
    Event(EventKind.TUNED, JOB),
    Event(EventKind.EVALUATED, JOB, evaluation=EVALUATION, kept=True),
    Event(EventKind.ALLOWED, JOB, why="no gate"),
    Event(EventKind.ALREADY_GRANTED, JOB, grant="ana"),
    Event(EventKind.UNEXPECTED_PERMISSION, JOB, grant="bo"),
    Event(EventKind.ALREADY_TRANSFERRED, JOB, owner="lead"),
)
UNCHANGED = Event(EventKind.ENDED, DONE, changed=False)


def told(*given):
    heard = []
    findings = NewsFilter(heard.append)
    for event in given:
        findings(event)
    return heard


def test_of_a_job_that_is_as_it_should_be_one_line_is_told():
    assert told(*FOUND, UNCHANGED) == [UNCHANGED]


@pytest.mark.parametrize(
    "news",
    [
        Event(EventKind.PROGRESS, JOB, operation=Operation("op", JOB.tuned_model)),
        Event(EventKind.EVALUATED, JOB, evaluation=EVALUATION, kept=False),
        Event(EventKind.CHANGING, JOB, action="grant", what="ana", why=""),
        Event(EventKind.WAITING, JOB, reason="nobody answers", seconds=1.0),
        Event(EventKind.ENDED, DONE, changed=True),
    ],
)
def test_news_of_a_job_is_told_behind_all_that_waited_for_it(news):
    assert told(*FOUND, news, Event(EventKind.ALREADY_GRANTED, JOB, grant="bo")) == [
        *FOUND,
        news,
        Event(EventKind.ALREADY_GRANTED, JOB, grant="bo"),
    ]


def test_what_was_submitted_by_this_run_or_is_gone_on_with_is_told_at_once():
    for first in (Event(EventKind.SUBMITTED, JOB, rows=9), Event(EventKind.TUNED, JOB)):
        assert told(first, *FOUND) == [first, *FOUND]


def test_the_jobs_do_not_wait_for_each_other():
    other = replace(JOB, tuned_model="tunedModels/other")

    assert told(*FOUND, Event(EventKind.TUNED, other)) == [Event(EventKind.TUNED, other)]


def test_of_a_stage_that_is_as_it_should_be_nothing_is_told(tmp_path):
    path = tmp_path / "pipe.yaml"
    path.write_text("jobs: []")

    assert told(*FOUND, Event(EventKind.ENDED, replace(DONE, spec=str(path)), changed=False)) == []


def test_it_is_known_of_which_jobs_there_was_news():
    other = replace(JOB, tuned_model="tunedModels/other")
    findings = NewsFilter(lambda _event: None)
    findings(Event(EventKind.ALREADY_EXISTED, JOB))
    findings(Event(EventKind.TUNED, other))

    assert [findings.has_reported(job) for job in (JOB, other)] == [False, True]
