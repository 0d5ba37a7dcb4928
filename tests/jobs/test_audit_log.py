"""The event log and the audit log: whole lines, no example texts, and no change without its record."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import pytest

from tests.fakes.one_target import OneTarget
from tests.fakes.target import Crash, FakeTarget
from tests.fakes.webhook import listening
from tests.fakes.work import WORK, job_of, right_answers
from tests.jobs.test_store import EVALUATION
from tests.jobs.test_store import JOB as STORED
from tuner.errors import TunerError
from tuner.events.events import Event, EventKind
from tuner.formatting import format_time
from tuner.jobs import audit_log, lockfile, runner
from tuner.jobs.audit_log import AuditLog, audit_file, audited_by_hand
from tuner.jobs.runner import Timing
from tuner.jobs.state_machine import advance
from tuner.jobs.store import open_store
from tuner.jobspec.prepared_job import prepare_job
from tuner.types import Operation, TargetConfig

JOB = replace(job_of(WORK), allowed="the gate was met")


GRANT = "ana@example.com (reader)"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "audit.jsonl"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_line_has_who_did_what_when_with_which_credentials_and_why(path):
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
    ("kind", "data", "expected"),
    [
        (EventKind.SUBMITTED, {"rows": 3}, ("done", "create", JOB.tuned_model, "")),
        (EventKind.ALREADY_EXISTED, {}, ("found", "create", JOB.tuned_model, "")),
        (EventKind.GRANTED, {"grant": GRANT}, ("done", "grant", GRANT, JOB.allowed)),
        (EventKind.ROLE_CHANGED, {"grant": GRANT}, ("done", "change_role", GRANT, JOB.allowed)),
        (EventKind.ALREADY_GRANTED, {"grant": GRANT}, ("found", "grant", GRANT, JOB.allowed)),
        (EventKind.CANCELLING, {"why": "w"}, ("done", "cancel", JOB.tuned_model, "w")),
        (EventKind.ALREADY_CANCELLED, {}, ("found", "cancel", JOB.tuned_model, "")),
        (EventKind.TRANSFERRED, {"owner": "lead@x"}, ("done", "transfer", "lead@x", JOB.allowed)),
        (
            EventKind.ALREADY_TRANSFERRED,
            {"owner": "l@x"},
            ("found", "transfer", "l@x", JOB.allowed),
        ),
        (EventKind.DELETED, {"why": "w"}, ("done", "delete", JOB.tuned_model, "w")),
        (EventKind.STOPPING, {"why": "w"}, ("decided", "cancel", JOB.tuned_model, "w")),
        (EventKind.FORCED, {"misses": "m"}, ("decided", "overrule", JOB.tuned_model, "m")),
        (EventKind.TUNED, {}, None),
    ],
)
def test_each_event_about_a_change_has_its_line(path, kind, data, expected):
    event = Event(kind, JOB, **data)
    AuditLog(path)(event)

    found = [(each["state"], each["action"], each["what"], each["why"]) for each in lines(path)]
    assert found == ([expected] if expected else [])


def test_a_change_that_cannot_be_recorded_is_refused(tmp_path):
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
        expected = [
            (each["action"], each["state"]) for each in lines(self.path) if what in each["what"]
        ]
        if (action, "intended") not in expected:
            self.unannounced.append((action, what))


async def _finish(job, target, audit):
    while not job.phase.is_end:
        job = await advance(job, WORK, target, audit)


def count_moments():
    target = FakeTarget(answers=right_answers(JOB.tuned_model))
    asyncio.run(_finish(job_of(WORK), target, lambda _: None))
    return target.moment


@pytest.mark.parametrize("crash_at", range(count_moments()))
def test_each_change_is_recorded_before_and_after_it_wherever_a_run_crashes(path, crash_at):
    target = Watched(path, crash_at=crash_at, answers=right_answers(JOB.tuned_model))
    audit = AuditLog(path)
    with pytest.raises(Crash):
        asyncio.run(_finish(job_of(WORK), target, audit))

    asyncio.run(_finish(job_of(WORK), target, audit))

    assert target.unannounced == []
    ended = {(each["action"], each["what"]) for each in lines(path) if each["state"] != "intended"}
    changed = {(a, w) for a, w in ended if a in ("grant", "transfer")}
    assert changed == {
        *(("grant", str(grant)) for grant in WORK.spec.grants),
        ("transfer", WORK.spec.transfer_ownership),
    }


NAMED = replace(STORED, name="other", label="rate=1", tuned_model="tunedModels/other")


WRITER = """
import sys
from pathlib import Path
from tuner.jobs import audit_log
for n in range(200):
    audit_log.append(Path(sys.argv[1]), {"writer": sys.argv[2], "n": n, "pad": "x" * 3000})
"""


def step(done, total=200):
    return Event(
        EventKind.PROGRESS,
        STORED,
        operation=Operation("op", "m", total_steps=total, completed_steps=done),
    )


def test_each_event_is_a_line_with_its_text_and_number(path):
    log = audit_log.EventLog(path, clock=lambda: 1000.5)

    log(Event(EventKind.SUBMITTED, STORED, rows=3))
    log(Event(EventKind.TUNED, STORED))

    first, second = audit_log.read_log(path)
    assert (first["event"], first["job"], first["rows"]) == ("Submitted", "capitals", 3)
    assert first["text"] == str(Event(EventKind.SUBMITTED, STORED, rows=3))
    assert (first["time"], first["run"]) == ("1970-01-01T00:16:40.500Z", os.getpid())
    assert (first["seq"], second["seq"]) == (1, 2)


def test_progress_is_one_line_per_tenth(path):
    log = audit_log.EventLog(path)

    for done in range(201):
        log(step(done))

    assert len(list(audit_log.read_log(path))) == 11


def test_no_example_text_is_written(path):
    audit_log.EventLog(path)(Event(EventKind.EVALUATED, STORED, evaluation=EVALUATION, kept=False))

    assert "Lima" not in path.read_text()
    assert "0.9" in path.read_text()


def test_only_the_owner_may_read_the_log(path):
    audit_log.EventLog(path)(Event(EventKind.TUNED, STORED))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_torn_line_is_skipped_and_the_next_line_is_complete(path):
    log = audit_log.EventLog(path)
    log(Event(EventKind.TUNED, STORED))
    with path.open("ab") as file:
        file.write(b'{"event": "Tor')

    log(Event(EventKind.ENDED, STORED, changed=True))

    assert [each["event"] for each in audit_log.read_log(path)] == ["Tuned", "Ended"]


def test_a_large_log_is_rotated_and_read_across_the_rotation(path, monkeypatch):
    monkeypatch.setattr(audit_log, "MAX_LOG_BYTES", 3000)
    monkeypatch.setattr(audit_log, "ROTATION_CHECK_EVENTS", 2)
    log = audit_log.EventLog(path)

    for _ in range(20):
        log(Event(EventKind.TUNED, STORED))

    assert path.stat().st_size < 4000
    assert audit_log.rotated(path).stat().st_size < 4000
    numbers = [each["seq"] for each in audit_log.read_log(path)]
    assert numbers == list(range(numbers[0], 21))
    assert len(numbers) > 5


def test_a_log_that_cannot_be_written_causes_one_warning(tmp_path):
    expected = io.StringIO()
    (tmp_path / "file").touch()
    log = audit_log.EventLog(tmp_path / "file" / "events.jsonl", stream=expected)

    for _ in range(3):
        log(Event(EventKind.TUNED, STORED))

    assert expected.getvalue().count("cannot be written: Not a directory") == 1


@pytest.mark.slow
def test_a_full_disk_leaves_the_file_unchanged(path):
    audit_log.append(path, {"n": 1})
    before = path.read_bytes()
    small = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"

    done = subprocess.run(
        [sys.executable, "-c", f"{small}\n{WRITER}", path, "a"], capture_output=True, check=False
    )

    assert b"File too large" in done.stderr
    assert path.read_bytes() == before


@pytest.mark.slow
def test_many_processes_write_complete_lines(path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(n)]) for n in range(20)]

    assert [writer.wait() for writer in writers] == [0] * 20
    found = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert len({(each["writer"], each["n"]) for each in found}) == len(found) == 4000


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), ["capitals", "other"]),
        (("capitals",), ["capitals"]),
        (("other[rate=1]",), ["other"]),
        (("other",), ["other"]),
        ((STORED.tuned_model,), ["capitals"]),
        ((STORED.tuned_model.removeprefix("tunedModels/"), "nobody"), ["capitals"]),
    ],
)
def test_records_are_selected_by_job_title_or_model(path, names, found):
    log = audit_log.EventLog(path)
    log(Event(EventKind.TUNED, STORED))
    log(Event(EventKind.TUNED, NAMED))

    assert [
        each["job"] for each in audit_log.select_records(audit_log.read_log(path), names)
    ] == found


def test_older_records_are_left_out():
    records = [{"time": 5.0}, {"time": format_time(15.0)}, {"time": "never"}]

    assert list(audit_log.select_records(records, (), since=10.0)) == [records[1]]


def test_following_continues_across_a_rotation_and_loses_nothing(path):
    log = audit_log.EventLog(path)
    log(Event(EventKind.TUNED, STORED))

    def torn():
        with path.open("ab") as file:
            file.write(b'{"event": "Half')

    def completed():
        with path.open("ab") as file:
            file.write(b' done"}\n')

    def rotated():
        log(Event(EventKind.ENDED, STORED, changed=True))
        audit_log.rotate(path, 1)

    steps_between = iter(
        [torn, completed, rotated, lambda: log(Event(EventKind.ALREADY_EXISTED, STORED))]
    )

    seen = islice(audit_log.follow_log(path, sleep=lambda _: next(steps_between)()), 4)

    assert [each["event"] for each in seen] == ["Tuned", "Half done", "Ended", "AlreadyExisted"]


def test_following_waits_for_a_log_that_does_not_exist(path):
    steps_between = iter([lambda: audit_log.EventLog(path)(Event(EventKind.TUNED, STORED))])

    (first,) = islice(audit_log.follow_log(path, sleep=lambda _: next(steps_between)()), 1)

    assert first["event"] == "Tuned"


@pytest.fixture
def webhook():
    with listening() as webhook:
        yield webhook


@pytest.fixture
def notifying(spec, webhook):
    spec.write_text(f"{spec.read_text()}notify: [{{url: '{webhook.url}?token=s3cret'}}]\n")
    return spec


def run(path, emit=lambda _: None):
    work = prepare_job(path)
    with open_store() as store:
        job = runner.find_or_create_job(work, store)
        (outcome,) = asyncio.run(runner.run_jobs([(job, work)], store, emit, Timing()))
    return outcome


@pytest.mark.slow
def test_a_run_is_recorded_and_notified_everywhere_and_only_once(notifying, webhook):
    job = run(notifying).job
    run(notifying)

    assert [headers["Tuner-Event"] for headers, _ in webhook.requests] == ["done", "transferred"]
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


@pytest.mark.slow
def test_a_run_without_a_writable_audit_log_shares_nothing(notifying, webhook):
    audit_log.audit_file().mkdir(parents=True)

    outcome = run(notifying)

    assert "audit log" in outcome.error.what
    assert outcome.error.exit_code == 1
    assert (OneTarget.target.creates, OneTarget.target.grants) == (0, 0)
    assert webhook.requests == []


@pytest.mark.slow
def test_no_example_token_or_address_is_in_any_record(notifying, webhook):
    run(notifying)

    log = [body.decode() for _, body in webhook.requests]
    log += [json.dumps(each) for each in audit_log.read_log(audit_log.events_file())]
    log += [json.dumps(each) for each in audit_log.read_log(audit_log.audit_file())]
    log.append((notifying.parent / lockfile.NAME).read_text())
    assert len(log) > 10
    for text in log:
        assert "question " not in text
        assert "answer " not in text
        assert "s3cret" not in text
        assert webhook.url not in text
