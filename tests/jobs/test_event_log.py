"""The event log on disk: whole lines only, no example text, and a full disk stops no run."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import pytest

from tests.jobs.test_store import EVALUATION, JOB
from tuner.events.events import Event, EventKind
from tuner.formatting import format_time
from tuner.jobs import audit_log
from tuner.types import Operation

NAMED = replace(JOB, name="other", label="rate=1", tuned_model="tunedModels/other")

WRITER = """
import sys
from pathlib import Path
from tuner.jobs import audit_log
for n in range(200):
    audit_log.append(Path(sys.argv[1]), {"writer": sys.argv[2], "n": n, "pad": "x" * 3000})
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "events.jsonl"


def step(done, total=200):
    return Event(
        EventKind.PROGRESS,
        JOB,
        operation=Operation("op", "m", total_steps=total, completed_steps=done),
    )


def test_every_event_is_a_line_with_its_words_and_its_number(path):
    told = audit_log.EventLog(path, clock=lambda: 1000.5)

    told(Event(EventKind.SUBMITTED, JOB, rows=3))
    told(Event(EventKind.TUNED, JOB))

    first, second = audit_log.read_log(path)
    assert (first["event"], first["job"], first["rows"]) == ("Submitted", "capitals", 3)
    assert first["text"] == str(Event(EventKind.SUBMITTED, JOB, rows=3))
    assert (first["time"], first["run"]) == ("1970-01-01T00:16:40.500Z", os.getpid())
    assert (first["seq"], second["seq"]) == (1, 2)


def test_progress_is_a_line_a_tenth(path):
    told = audit_log.EventLog(path)

    for done in range(201):
        told(step(done))

    assert len(list(audit_log.read_log(path))) == 11


def test_no_text_of_an_example_is_written(path):
    audit_log.EventLog(path)(Event(EventKind.EVALUATED, JOB, evaluation=EVALUATION, kept=False))

    assert "Lima" not in path.read_text()
    assert "0.9" in path.read_text()


def test_only_its_owner_may_read_it(path):
    audit_log.EventLog(path)(Event(EventKind.TUNED, JOB))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_line_that_a_crash_tore_is_left_out_and_the_next_is_whole(path):
    told = audit_log.EventLog(path)
    told(Event(EventKind.TUNED, JOB))
    with path.open("ab") as file:
        file.write(b'{"event": "Tor')

    told(Event(EventKind.ENDED, JOB, changed=True))

    assert [each["event"] for each in audit_log.read_log(path)] == ["Tuned", "Ended"]


def test_a_file_that_has_grown_makes_room_and_is_read_on(path, monkeypatch):
    monkeypatch.setattr(audit_log, "MAX_LOG_BYTES", 3000)
    monkeypatch.setattr(audit_log, "ROTATION_CHECK_EVENTS", 2)
    told = audit_log.EventLog(path)

    for _ in range(20):
        told(Event(EventKind.TUNED, JOB))

    assert path.stat().st_size < 4000
    assert audit_log.rotated(path).stat().st_size < 4000
    numbers = [each["seq"] for each in audit_log.read_log(path)]
    assert numbers == list(range(numbers[0], 21))
    assert len(numbers) > 5


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path):
    said = io.StringIO()
    (tmp_path / "file").touch()
    told = audit_log.EventLog(tmp_path / "file" / "events.jsonl", stream=said)

    for _ in range(3):
        told(Event(EventKind.TUNED, JOB))

    assert said.getvalue().count("cannot be written: Not a directory") == 1


@pytest.mark.slow
def test_a_line_that_the_disk_has_no_room_for_leaves_the_file_as_it_was(path):
    audit_log.append(path, {"n": 1})
    before = path.read_bytes()
    small = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"

    done = subprocess.run(
        [sys.executable, "-c", f"{small}\n{WRITER}", path, "a"], capture_output=True, check=False
    )

    assert b"File too large" in done.stderr
    assert path.read_bytes() == before


@pytest.mark.slow
def test_many_processes_write_whole_lines_only(path):
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
        ((JOB.tuned_model,), ["capitals"]),
        ((JOB.tuned_model.removeprefix("tunedModels/"), "nobody"), ["capitals"]),
    ],
)
def test_a_job_is_found_by_its_name_its_title_or_its_model(path, names, found):
    told = audit_log.EventLog(path)
    told(Event(EventKind.TUNED, JOB))
    told(Event(EventKind.TUNED, NAMED))

    assert [
        each["job"] for each in audit_log.select_records(audit_log.read_log(path), names)
    ] == found


def test_what_is_older_is_left_out():
    records = [{"time": 5.0}, {"time": format_time(15.0)}, {"time": "never"}]

    assert list(audit_log.select_records(records, (), since=10.0)) == [records[1]]


def test_what_is_added_is_followed_over_a_new_file_and_none_is_lost(path):
    told = audit_log.EventLog(path)
    told(Event(EventKind.TUNED, JOB))

    def torn():
        with path.open("ab") as file:
            file.write(b'{"event": "Half')

    def mended():
        with path.open("ab") as file:
            file.write(b' done"}\n')

    def rotated():
        told(Event(EventKind.ENDED, JOB, changed=True))
        audit_log.rotate(path, 1)

    happens = iter([torn, mended, rotated, lambda: told(Event(EventKind.ALREADY_EXISTED, JOB))])

    seen = islice(audit_log.follow_log(path, sleep=lambda _: next(happens)()), 4)

    assert [each["event"] for each in seen] == ["Tuned", "Half done", "Ended", "AlreadyExisted"]


def test_a_log_that_is_not_there_yet_is_waited_for(path):
    happens = iter([lambda: audit_log.EventLog(path)(Event(EventKind.TUNED, JOB))])

    (first,) = islice(audit_log.follow_log(path, sleep=lambda _: next(happens)()), 1)

    assert first["event"] == "Tuned"
