"""Events as lines for people, as JSON for programs, and only for jobs with news."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from tests.jobs.test_store import EVALUATION, JOB
from tuner.errors import TunerError
from tuner.events.events import Event, EventKind
from tuner.events.reporters import JsonLines, Lines, NewsFilter
from tuner.types import Operation, Phase, Snapshot


def steps(done, total=200):
    snapshots = (Snapshot(done, 1, 0.25, 1.0),) if done else ()
    operation = Operation(
        "op", JOB.tuned_model, total_steps=total, completed_steps=done, snapshots=snapshots
    )
    return Event(EventKind.PROGRESS, JOB, operation=operation)


def test_progress_is_one_line_per_tenth_of_the_steps():
    stream = io.StringIO()
    reporter = Lines(stream)

    for done in range(201):
        reporter(steps(done))

    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "capitals: tuning, step 0 of 200"
    assert lines[5] == "capitals: tuning, step 100 of 200, loss 0.250"


def test_a_line_has_the_mean_loss_of_the_last_eighth_of_the_steps():
    snapshots = tuple(Snapshot(n, 1, loss, 1.0) for n, loss in enumerate([9.0, 1.0, 3.0], 1))
    operation = Operation(
        "op", JOB.tuned_model, total_steps=16, completed_steps=3, snapshots=snapshots
    )

    assert (
        str(Event(EventKind.PROGRESS, JOB, operation=operation))
        == "tuning, step 3 of 16, loss 2.000"
    )


def test_the_progress_of_each_job_is_reported():
    stream = io.StringIO()
    reporter = Lines(stream)
    other = replace(JOB, name="other", tuned_model="tunedModels/other")

    reporter(steps(0))
    reporter(
        Event(
            EventKind.PROGRESS, other, operation=Operation("op2", other.tuned_model, total_steps=9)
        )
    )

    assert len(stream.getvalue().splitlines()) == 2


def test_json_lines_have_one_object_per_event_and_no_example_text():
    stream = io.StringIO()
    reporter = JsonLines(stream)

    for event in (
        Event(EventKind.SUBMITTED, JOB, rows=3),
        steps(7),
        Event(EventKind.EVALUATED, JOB, evaluation=EVALUATION, kept=False),
    ):
        reporter(event)

    submitted, progress, evaluated = map(json.loads, stream.getvalue().splitlines())
    assert submitted["event"] == "Submitted"
    assert submitted["rows"] == 3
    assert progress["operation"]["completed_steps"] == 7
    assert progress["mean_loss"] == 0.25
    assert evaluated["evaluation"]["tuned"]["exact_match"] == 0.9
    assert "Lima" not in stream.getvalue()


def test_an_intended_change_is_reported_to_programs_only():
    lines, objects = io.StringIO(), io.StringIO()
    event = Event(
        EventKind.CHANGING,
        JOB,
        action="grant",
        what="ana@example.com (reader)",
        why="the gate was met",
    )

    Lines(lines)(event)
    JsonLines(objects)(event)

    assert lines.getvalue() == ""
    assert json.loads(objects.getvalue())["action"] == "grant"


def test_control_characters_of_a_service_are_removed():
    said = "no \x1b]0;owned\x07\x1b[2J\x9b1m\r\u202e\nerror: forged"
    stream = io.StringIO()

    Lines(stream)(
        Event(EventKind.ENDED, replace(JOB, phase=Phase.FAILED, error=said), changed=True)
    )

    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert "owned" in line
    assert not set(str(TunerError(said))) & set("\x1b\x07\x9b\r\u202e")


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


def reported(*given):
    received = []
    news_filter = NewsFilter(received.append)
    for event in given:
        news_filter(event)
    return received


def test_an_unchanged_job_is_one_line():
    assert reported(*FOUND, UNCHANGED) == [UNCHANGED]


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
def test_news_is_reported_after_the_events_before_it(news):
    assert reported(*FOUND, news, Event(EventKind.ALREADY_GRANTED, JOB, grant="bo")) == [
        *FOUND,
        news,
        Event(EventKind.ALREADY_GRANTED, JOB, grant="bo"),
    ]


def test_events_of_a_submitted_or_continued_job_are_reported_at_once():
    for first in (Event(EventKind.SUBMITTED, JOB, rows=9), Event(EventKind.TUNED, JOB)):
        assert reported(first, *FOUND) == [first, *FOUND]


def test_jobs_are_filtered_separately():
    other = replace(JOB, tuned_model="tunedModels/other")

    assert reported(*FOUND, Event(EventKind.TUNED, other)) == [Event(EventKind.TUNED, other)]


def test_an_unchanged_stage_of_a_pipeline_is_not_reported(tmp_path):
    path = tmp_path / "pipe.yaml"
    path.write_text("jobs: []")

    assert (
        reported(*FOUND, Event(EventKind.ENDED, replace(DONE, spec=str(path)), changed=False)) == []
    )


def test_the_filter_knows_which_jobs_had_news():
    other = replace(JOB, tuned_model="tunedModels/other")
    news_filter = NewsFilter(lambda _event: None)
    news_filter(Event(EventKind.ALREADY_EXISTED, JOB))
    news_filter(Event(EventKind.TUNED, other))

    assert [news_filter.has_reported(job) for job in (JOB, other)] == [False, True]
