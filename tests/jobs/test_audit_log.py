"""The audit log: an effect has its intention on the disk before it, whatever happens then."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from dataclasses import replace

import pytest

from tests.fakes.target import Crash, FakeTarget
from tests.fakes.work import WORK, job_of, right_answers
from tuner.errors import TunerError
from tuner.events.events import Event, EventKind
from tuner.jobs.audit_log import AuditLog, audit_file, audited_by_hand
from tuner.jobs.state_machine import advance
from tuner.types import TargetConfig

JOB = replace(job_of(WORK), allowed="the gate was met")
GRANT = "ana@example.com (reader)"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "audit.jsonl"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_line_says_who_did_what_when_with_whose_credentials_and_why(path):
    audit = AuditLog(path, clock=lambda: 1764000000.25)
    audit.set_credentials("local", "TUNER_API_KEY")

    audit(Event(EventKind.CHANGING, JOB, action="grant", what=GRANT, why="the gate was met"))

    (line,) = lines(path)
    assert line.pop("who").endswith(f"@{socket.gethostname()}")
    assert line == {
        "time": "2025-11-24T16:00:00.250Z",
        "pid": os.getpid(),
        "credentials": "TUNER_API_KEY",
        "target": "local",
        "tuned_model": JOB.tuned_model,
        "action": "grant",
        "what": GRANT,
        "why": "the gate was met",
        "state": "intended",
    }


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Event(EventKind.SUBMITTED, JOB, rows=3), ("done", "create", JOB.tuned_model, "")),
        (Event(EventKind.ALREADY_EXISTED, JOB), ("found", "create", JOB.tuned_model, "")),
        (Event(EventKind.GRANTED, JOB, grant=GRANT), ("done", "grant", GRANT, JOB.allowed)),
        (
            Event(EventKind.ROLE_CHANGED, JOB, grant=GRANT),
            ("done", "change_role", GRANT, JOB.allowed),
        ),
        (
            Event(EventKind.CANCELLING, JOB, why="no better"),
            ("done", "cancel", JOB.tuned_model, "no better"),
        ),
        (Event(EventKind.ALREADY_CANCELLED, JOB), ("found", "cancel", JOB.tuned_model, "")),
        (
            Event(EventKind.ALREADY_GRANTED, JOB, grant=GRANT),
            ("found", "grant", GRANT, JOB.allowed),
        ),
        (
            Event(EventKind.TRANSFERRED, JOB, owner="lead@x"),
            ("done", "transfer", "lead@x", JOB.allowed),
        ),
        (
            Event(EventKind.ALREADY_TRANSFERRED, JOB, owner="lead@x"),
            ("found", "transfer", "lead@x", JOB.allowed),
        ),
        (
            Event(EventKind.DELETED, JOB, why="beaten"),
            ("done", "delete", JOB.tuned_model, "beaten"),
        ),
        (
            Event(EventKind.STOPPING, JOB, why="no better"),
            ("decided", "cancel", JOB.tuned_model, "no better"),
        ),
        (
            Event(EventKind.FORCED, JOB, misses="it is 0.1"),
            ("decided", "overrule", JOB.tuned_model, "it is 0.1"),
        ),
        (Event(EventKind.TUNED, JOB), None),
    ],
)
def test_every_event_about_a_change_has_its_line(path, event, said):
    AuditLog(path)(event)

    found = [(each["state"], each["action"], each["what"], each["why"]) for each in lines(path)]
    assert found == ([said] if said else [])


def test_what_cannot_be_written_down_is_not_done(tmp_path):
    (tmp_path / "file").touch()
    audit = AuditLog(tmp_path / "file" / "audit.jsonl")

    with pytest.raises(TunerError, match="audit log") as raised:
        audit(Event(EventKind.CHANGING, JOB, action="grant", what=GRANT, why=""))

    assert "unrecorded" in raised.value.fix


def test_a_manual_change_is_recorded_as_intended_and_then_as_done_unless_it_fails(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))

    def record():
        return audited_by_hand(TargetConfig(), FakeTarget(), JOB.tuned_model, "grant", GRANT)

    with pytest.raises(TunerError), record():
        raise TunerError("no")
    with record():
        assert [each["state"] for each in lines(audit_file())] == ["intended"] * 2

    assert [each["state"] for each in lines(audit_file())] == ["intended", "intended", "done"]


class Watched(FakeTarget):
    """Notes how many intended lines there were at every change of access."""

    def __init__(self, path, **fields):
        super().__init__(**fields)
        self.path, self.unannounced = path, []

    async def grant(self, tuned_model, grant):
        self._look_up("grant", str(grant))
        return await super().grant(tuned_model, grant)

    async def transfer(self, tuned_model, email_address):
        self._look_up("transfer", email_address)
        await super().transfer(tuned_model, email_address)

    def _look_up(self, action, what):
        said = [
            (each["action"], each["state"]) for each in lines(self.path) if what in each["what"]
        ]
        if (action, "intended") not in said:
            self.unannounced.append((action, what))


async def _to_the_end(job, target, audit):
    while not job.phase.is_end:
        job = await advance(job, WORK, target, audit)


def moments():
    target = FakeTarget(answers=right_answers(JOB.tuned_model))
    asyncio.run(_to_the_end(job_of(WORK), target, lambda _: None))
    return target.moment


@pytest.mark.parametrize("crash_at", range(moments()))
def test_every_effect_was_announced_and_is_acknowledged_wherever_it_crashes(path, crash_at):
    target = Watched(path, crash_at=crash_at, answers=right_answers(JOB.tuned_model))
    audit = AuditLog(path)
    with pytest.raises(Crash):
        asyncio.run(_to_the_end(job_of(WORK), target, audit))

    asyncio.run(_to_the_end(job_of(WORK), target, audit))

    assert target.unannounced == []
    ended = {(each["action"], each["what"]) for each in lines(path) if each["state"] != "intended"}
    changed = {(a, w) for a, w in ended if a in ("grant", "transfer")}
    assert changed == {
        *(("grant", str(grant)) for grant in WORK.spec.grants),
        ("transfer", WORK.spec.transfer_ownership),
    }
