"""Events as lines for people and as JSON for programs."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from tests.jobs.test_store import EVALUATION, JOB
from tuner.errors import TunerError
from tuner.events.events import Event, EventKind
from tuner.events.reporters import JsonLines, Lines
from tuner.types import Operation, Phase, Snapshot


def steps(done, total=200):
    snapshots = (Snapshot(done, 1, 0.25, 1.0),) if done else ()
    operation = Operation(
        "op", JOB.tuned_model, total_steps=total, completed_steps=done, snapshots=snapshots
    )
    return Event(EventKind.PROGRESS, JOB, operation=operation)


def test_a_tuning_of_many_steps_is_a_line_a_tenth():
    stream = io.StringIO()
    reporter = Lines(stream)

    for done in range(201):
        reporter(steps(done))

    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "capitals: tuning, step 0 of 200"
    assert lines[5] == "capitals: tuning, step 100 of 200, loss 0.250"


def test_the_last_eighth_is_counted_in_steps_where_not_each_has_a_snapshot():
    snapshots = tuple(Snapshot(n, 1, float(n <= 700), 1.0) for n in range(100, 801, 100))
    operation = Operation("o", "m", total_steps=800, completed_steps=800, snapshots=snapshots)
    assert (
        str(Event(EventKind.PROGRESS, JOB, operation=operation))
        == "tuning, step 800 of 800, loss 0.000"
    )


def test_a_line_tells_the_mean_loss_of_the_last_eighth_of_the_steps():
    snapshots = tuple(Snapshot(n, 1, loss, 1.0) for n, loss in enumerate([9.0, 1.0, 3.0], 1))
    operation = Operation(
        "op", JOB.tuned_model, total_steps=16, completed_steps=3, snapshots=snapshots
    )

    assert (
        str(Event(EventKind.PROGRESS, JOB, operation=operation))
        == "tuning, step 3 of 16, loss 2.000"
    )


def test_two_jobs_do_not_hide_each_other_s_progress():
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


def test_a_program_gets_one_object_an_event_and_no_example_text():
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


def test_what_is_about_to_be_changed_is_no_line_but_an_object_for_programs():
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


def test_what_a_service_says_moves_no_cursor_and_forges_no_line():
    said = "no \x1b]0;owned\x07\x1b[2J\x9b1m\r\u202e\nerror: forged"
    stream = io.StringIO()

    Lines(stream)(
        Event(EventKind.ENDED, replace(JOB, phase=Phase.FAILED, error=said), changed=True)
    )

    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert "owned" in line
    assert not set(str(TunerError(said))) & set("\x1b\x07\x9b\r\u202e")
