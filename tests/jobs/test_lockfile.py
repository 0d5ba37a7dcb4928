"""tuner.lock: the same bytes for the same job, written atomically by many processes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.fakes.one_target import OneTarget
from tuner.errors import SpecError, TunerError
from tuner.events.events import EventKind
from tuner.jobs import lockfile
from tuner.jobs.runner import Timing, find_or_create_job, run_jobs
from tuner.jobs.store import open_store
from tuner.jobspec.prepared_job import prepare_job

WRITER = """
import sys
from pathlib import Path
from tuner.jobs import lockfile
for n in range(25):
    lockfile.put(Path(sys.argv[1]), f"{sys.argv[2]}-{n}", {"n": n})
"""


def run_job(spec, overrides=()):
    """A job of the spec at its end, with what the service lists."""
    work = prepare_job(spec, overrides)
    with open_store() as store:
        job = find_or_create_job(work, store, overrides)
        (outcome,) = asyncio.run(run_jobs([(job, work)], store, lambda _: None, Timing()))
    assert outcome.job.phase.is_end
    return outcome.job, work, outcome.permissions


async def read_model(job):
    return await OneTarget.target.tuned_model(job.tuned_model)


def run_unlocked(spec):
    found = run_job(spec)
    (spec.parent / lockfile.NAME).unlink(missing_ok=True)
    return found


def lock(spec, overrides=()):
    job, work, permissions = run_job(spec, overrides)
    events = []
    asyncio.run(lockfile.lock_job(job, work, read_model, permissions, events.append))
    return job, work, events


def test_an_entry_has_the_inputs_and_the_results_of_a_job(spec):
    job, work, _ = lock(spec)

    entry = lockfile.entry(spec)

    rows = (spec.parent / "rows.csv").read_bytes()
    assert entry["tuned_model"] == job.tuned_model
    assert entry["content"] == work.digest
    assert entry["spec"] == hashlib.sha256(spec.read_bytes()).hexdigest()
    assert entry["data"] == [
        {"path": "rows.csv", "sha256": hashlib.sha256(rows).hexdigest(), "bytes": len(rows)}
    ]
    assert entry["examples"] == {"tuned_on": len(work.examples), "held_out": len(work.holdout)}
    assert entry["base_model"] == "models/tiny"
    assert entry["seed"] == 0
    assert entry["results"]["tuned"] == 1.0
    assert entry["tuned"]["steps"] == 3
    assert {each["email_address"]: each["role"] for each in entry["permissions"]} == {
        "ana@example.com": "READER",
        "lead@example.com": "OWNER",
        "me@example.com": "WRITER",
    }
    assert (entry["phase"], entry["handed_to"]) == ("DONE", "lead@example.com")


def test_the_same_job_does_not_change_the_file(spec):
    path = spec.parent / lockfile.NAME
    lock(spec)
    before, written = path.read_bytes(), path.stat().st_mtime_ns

    lock(spec)

    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns == written


def test_a_variant_is_found_by_its_label(spec):
    job, work, permissions = run_unlocked(spec)

    lockfile.write(replace(job, label="rate=1"), work, None, permissions)

    assert lockfile.entry(spec, "rate=1")["label"] == "rate=1"
    assert lockfile.entry(spec) is None


def test_the_facts_of_a_hidden_model_are_kept(spec):
    job, work, _ = lock(spec)
    before = lockfile.entry(spec)

    lockfile.write(job, work, None, ())

    assert lockfile.entry(spec) == before


def test_the_facts_of_another_model_are_not_kept(spec):
    job, work, _ = lock(spec)

    lockfile.write(replace(job, tuned_model="tunedModels/other"), work, None, ())

    assert lockfile.entry(spec)["tuned"] is None


def test_a_job_from_python_has_no_entry(spec):
    job, work, permissions = run_unlocked(spec)

    asyncio.run(lockfile.lock_job(replace(job, spec=""), work, read_model, permissions, print))

    assert not (spec.parent / lockfile.NAME).exists()


def test_a_deleted_model_is_locked_with_the_known_facts(spec):
    job, work, permissions = run_unlocked(spec)
    OneTarget.target.held.clear()

    asyncio.run(lockfile.lock_job(job, work, read_model, permissions, print))

    assert lockfile.entry(spec)["hyperparameters"] is None
    assert lockfile.entry(spec)["base_model"] == "models/tiny"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{\n"version": 1,\n<<<<<<< ours\n}', 3),
        ("[]", 0),
        ('{"version": 1, "jobs": {"a": 1}}', 0),
        ('{"version": 2, "jobs": {}}', 0),
        ("\0", 1),
    ],
)
def test_a_damaged_file_is_reported_with_its_line_and_not_changed(spec, text, line):
    path = spec.parent / lockfile.NAME
    path.write_text(text)

    with pytest.raises(SpecError) as raised:
        lockfile.entry(spec)
    *_, events = lock(spec)

    assert [(each.path, each.line) for each in raised.value.problems] == [(str(path), line)]
    assert [event.kind for event in events] == [EventKind.NOT_LOCKED]
    assert path.read_text() == text


def test_a_file_that_cannot_be_written_causes_one_warning(spec):
    (spec.parent / lockfile.NAME).mkdir()

    *_, events = lock(spec)

    assert [str(event).partition(": ")[0] for event in events] == ["not written to tuner.lock"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    lockfile.put(tmp_path / "a.yaml", "", {"n": 1})
    before = (tmp_path / lockfile.NAME).read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lockfile.os, "fsync", full)
    with pytest.raises(TunerError, match="No space left"):
        lockfile.put(tmp_path / "a.yaml", "", {"n": 2})

    assert (tmp_path / lockfile.NAME).read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [lockfile.NAME]


def test_entries_of_other_processes_are_kept(tmp_path):
    spec = tmp_path / "a.yaml"
    lockfile.put(spec, "ours", {"n": 1})
    path = tmp_path / lockfile.NAME
    theirs = json.loads(path.read_text())
    theirs["jobs"]["b.yaml"] = {"n": 2}
    path.write_text(json.dumps(theirs))

    lockfile.put(spec, "ours", {"n": 3})

    assert lockfile.entries(path) == {"a.yaml#ours": {"n": 3}, "b.yaml": {"n": 2}}


def test_the_file_is_readable_and_ends_in_a_newline(tmp_path):
    lockfile.put(tmp_path / "é.yaml", "", {"b": [1], "a": "ü"})

    assert (tmp_path / lockfile.NAME).read_text() == (
        '{\n  "version": 1,\n  "jobs": {\n    "é.yaml": {\n      "a": "ü",\n'
        '      "b": [\n        1\n      ]\n    }\n  }\n}\n'
    )


@pytest.mark.slow
def test_many_processes_lose_no_entry(tmp_path):
    spec = tmp_path / "a.yaml"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, spec, str(n)]) for n in range(4)]

    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(lockfile.entries(tmp_path / lockfile.NAME)) == 100


def test_receivers_are_not_in_the_file_or_its_keys(spec):
    events = "notify=[{url: 'https://127.0.0.1:9/T0/s3cret', on: [failed]}]"
    lock(spec, ["hyperparameters.epoch_count=2", events])

    text = (spec.parent / lockfile.NAME).read_text()

    assert "s3cret" not in text
    assert list(lockfile.entries(spec.parent / lockfile.NAME)) == [
        f"{spec.name}#hyperparameters.epoch_count=2"
    ]
