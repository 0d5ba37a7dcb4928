"""`tuner logs`: the event log and the audit log of this machine."""

from __future__ import annotations

import json
import time

import pytest

from tests.jobs.test_store import JOB
from tuner.__main__ import run
from tuner.events.events import Event, EventKind
from tuner.jobs import audit_log
from tuner.jobs.audit_log import AuditLog


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))


def test_an_empty_log_prints_a_note(capsys):
    assert run(["logs", "capitals"]) == 0

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("no records of capitals in ")


def test_the_default_output_is_one_json_object_per_line(capsys):
    audit_log.EventLog()(Event(EventKind.TUNED, JOB))

    assert run(["logs"]) == 0

    assert json.loads(capsys.readouterr().out)["event"] == "Tuned"


def test_a_table_has_the_time_the_job_and_the_text(capsys):
    audit_log.EventLog(clock=lambda: 0.0)(Event(EventKind.TUNED, JOB))

    assert run(["logs", "-o", "table"]) == 0

    when = "1970-01-01T00:00:00.000Z"
    assert capsys.readouterr().out == f"{when}  capitals: tuned: {JOB.tuned_model} is ACTIVE\n"


def test_times_of_older_versions_are_converted(capsys):
    audit_log.EventLog(clock=lambda: 0.0)(Event(EventKind.TUNED, JOB))
    with audit_log.events_file().open("a") as file:
        file.write('{"time": 1764000000.25, "event": "Tuned", "job": "older", "text": "tuned"}\n')

    assert run(["logs"]) == 0
    times = [json.loads(line)["time"] for line in capsys.readouterr().out.splitlines()]
    assert run(["logs", "older", "-o", "table"]) == 0

    assert times == ["1970-01-01T00:00:00.000Z", "2025-11-24T16:00:00.250Z"]
    assert capsys.readouterr().out == "2025-11-24T16:00:00.250Z  older: tuned\n"


def test_jobs_and_times_are_selected(capsys):
    audit_log.EventLog(clock=lambda: time.time() - 7200)(Event(EventKind.TUNED, JOB))
    audit_log.EventLog()(Event(EventKind.ENDED, JOB, changed=True))

    run(["logs", "capitals", "--since", "1h"])
    recent = capsys.readouterr().out
    run(["logs", "nobody"])

    assert json.loads(recent)["event"] == "Ended"
    assert capsys.readouterr().out == ""


def test_the_audit_log_shows_who_changed_what_and_why(capsys):
    audit = AuditLog()
    audit(
        Event(
            EventKind.CHANGING,
            JOB,
            action="change_role",
            what="ana@example.com (writer)",
            why="the gate was met",
        )
    )
    audit(Event(EventKind.DELETED, JOB, why="another is better"))

    run(["logs", "--audit", "-o", "table"])

    changed, deleted = capsys.readouterr().out.splitlines()
    assert changed.endswith(
        f": intended change role ana@example.com (writer) on {JOB.tuned_model} (the gate was met)"
    )
    assert deleted.endswith(f": done delete {JOB.tuned_model} (another is better)")


def test_control_characters_are_removed(capsys):
    audit = AuditLog()
    audit(Event(EventKind.CHANGING, JOB, action="grant", what="\x07ana\nforged", why=""))

    run(["logs", "--audit", "-o", "table"])

    (line,) = capsys.readouterr().out.splitlines()
    assert "\x07" not in line


def test_an_invalid_time_is_refused(capsys):
    assert run(["logs", "--since", "yesterday"]) == 2

    assert "write a time such as" in capsys.readouterr().err


def test_lines_that_are_no_events_cause_no_traceback(capsys):
    audit_log.EventLog()(Event(EventKind.TUNED, JOB))
    with audit_log.events_file().open("a") as file:
        file.write('{"time": "never"}\n{"time": 1e300}\n[]\n\x00\n')

    assert run(["logs", "-o", "table"]) == 0

    assert len(capsys.readouterr().out.splitlines()) == 3
