"""The bookmark survives what a disk and a crash can do to it."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from tuner.errors import TunerError
from tuner.job import Evaluation, Interval, Job, ScoredRow
from tuner.jobs import store
from tuner.jobs.store import VERSION, Store
from tuner.types import Phase, TargetConfig

JOB = Job(
    name="capitals",
    target=TargetConfig("gemini", endpoint="127.0.0.1:1"),
    tuned_model="tunedModels/capitals-0123456789",
    content="capitals-0123456789",
    spec="/specs/capitals.yaml",
)
WHOSE = (JOB.where, JOB.tuned_model)
EVALUATION = Evaluation(
    "d1",
    "exact_match",
    {"exact_match": 0.9, "normalized_match": 1.0},
    {"exact_match": 0.0, "normalized_match": 0.1},
    1,
    Interval(0.8, 1.0),
    (ScoredRow("Peru", "Lima", "Lima", "lima?", 3, 1.0, 0.0),),
)


def opened(path, now=1.0):
    return Store(path, lambda: now)


@pytest.mark.parametrize("phase", list(Phase))
def test_what_was_saved_is_found_again(tmp_path, phase):
    job = replace(JOB, phase=phase, mean_loss=0.5, evaluation=EVALUATION, handed_to="a@b.c")
    with opened(tmp_path / "l.db") as ledger:
        ledger.save(job)

    with opened(tmp_path / "l.db") as ledger:
        assert ledger.find(job.where, job.tuned_model) == job


def test_saving_again_replaces_the_bookmark(tmp_path):
    with opened(tmp_path / "l.db") as ledger:
        ledger.save(JOB)
        ledger.save(replace(JOB, phase=Phase.TUNE))

        assert [mark.job.phase for mark in ledger.jobs()] == [Phase.TUNE]


def test_the_same_model_on_two_targets_is_two_jobs(tmp_path):
    with opened(tmp_path / "l.db") as ledger:
        ledger.save(JOB)
        ledger.save(replace(JOB, target=TargetConfig("local")))

        assert len(ledger.jobs()) == 2


@pytest.mark.parametrize("name", ["capitals", "capitals-0123456789", JOB.tuned_model])
def test_a_job_is_found_by_name_id_and_resource_name(tmp_path, name):
    with opened(tmp_path / "l.db") as ledger:
        ledger.save(JOB)

        assert [mark.job for mark in ledger.jobs(name)] == [JOB]
        assert ledger.jobs("other") == []


@pytest.mark.slow
def test_a_commit_survives_kill_9(tmp_path):
    code = (
        "import os, signal, sys, pathlib\n"
        "from tests.jobs.test_store import JOB, opened\n"
        "opened(pathlib.Path(sys.argv[1])).save(JOB)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "l.db"], check=False)

    assert killed.returncode == -9
    with opened(tmp_path / "l.db") as ledger:
        assert ledger.find(JOB.where, JOB.tuned_model) == JOB


def test_a_damaged_ledger_is_one_clear_line_with_a_way_out(tmp_path):
    path = tmp_path / "l.db"
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 50)

    with pytest.raises(TunerError, match="cannot be used") as caught:
        opened(path)

    assert "move it away" in caught.value.fix


def test_a_ledger_of_a_newer_tuner_is_left_alone(tmp_path):
    path = tmp_path / "l.db"
    opened(path)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()

    with pytest.raises(TunerError, match="newer tuner"):
        opened(path)


FIRST = """
CREATE TABLE job (
    target TEXT NOT NULL, tuned_model TEXT NOT NULL, name TEXT NOT NULL, phase TEXT NOT NULL,
    updated REAL NOT NULL, body TEXT NOT NULL, PRIMARY KEY (target, tuned_model)
) STRICT;
INSERT INTO job VALUES ('gemini:127.0.0.1:1', 'tunedModels/capitals-0123456789', 'capitals',
    'DONE', 7.0, '{"name": "capitals", "target": {"kind": "gemini", "endpoint": "127.0.0.1:1",
    "api_key_env": "", "credentials_file": "", "quota_project": ""}, "tuned_model": "tunedModels/capitals-0123456789",
    "content": "capitals-0123456789", "spec": "/specs/capitals.yaml", "overrides": [],
    "phase": "SUBMIT", "operation": "", "total_steps": 0, "completed_steps": 0, "mean_loss": null,
    "evaluation": {"digest": "d1", "tuned": {"exact_match": 0.9, "normalized_match": 1.0},
    "base": {"exact_match": 0.0, "normalized_match": 0.1}, "rows": [{"text_input": "Peru",
    "expected": "Lima", "tuned": "Lima", "base": "lima?", "line": 3}]},
    "handed_to": "a@b.c", "error": ""}');
PRAGMA user_version = 1;
"""


def first(path):
    """A ledger as the first version wrote it."""
    db = sqlite3.connect(path)
    db.executescript(FIRST)
    db.close()


def test_a_ledger_of_the_first_version_is_read_on(tmp_path):
    first(tmp_path / "l.db")

    with opened(tmp_path / "l.db") as ledger:
        (found,) = ledger.jobs()
        assert found.updated == 7.0
        evaluation = replace(EVALUATION, interval=None)
        assert found.job == replace(JOB, phase=Phase.DONE, evaluation=evaluation, handed_to="a@b.c")
        assert ledger.evaluation_rows(found.job) == (ScoredRow("Peru", "Lima", "Lima", "lima?", 3),)


def test_an_upgrade_that_is_interrupted_is_begun_again(tmp_path, monkeypatch):
    first(tmp_path / "l.db")
    with monkeypatch.context() as patch:
        patch.setattr(store, "_SECOND", (*store._SECOND[:3], "CREATE TABLE nothing"))
        with pytest.raises(TunerError):
            opened(tmp_path / "l.db")

    with opened(tmp_path / "l.db") as ledger:
        assert [mark.job.phase for mark in ledger.jobs()] == [Phase.DONE]


@pytest.mark.parametrize("moment", ["begin", "commit", "committed"])
def test_a_ledger_deleted_at_any_moment_of_a_commit_is_begun_anew(tmp_path, moment):
    path = tmp_path / "l.db"

    def delete(now):
        if now == moment and path.exists():
            path.unlink()

    with Store(path, float, delete) as ledger:
        ledger.save(JOB)
        ledger.save(replace(JOB, phase=Phase.TUNE))

        again = replace(JOB, phase=Phase.EVALUATE)
        assert ledger.find(*WHOSE) in (None, replace(JOB, phase=Phase.TUNE))
    with opened(path) as ledger:
        ledger.save(again)
        assert ledger.find(*WHOSE) == again


def test_what_is_written_after_a_deletion_is_in_the_file_that_others_open(tmp_path):
    path = tmp_path / "l.db"
    with opened(path) as ledger:
        ledger.save(JOB)
        for each in tmp_path.iterdir():
            each.unlink()
        ledger.save(replace(JOB, phase=Phase.TUNE))

        with opened(path) as other:
            assert other.find(*WHOSE).phase is Phase.TUNE


def test_only_its_owner_can_read_the_ledger(tmp_path):
    with opened(tmp_path / "l.db"):
        assert (tmp_path / "l.db").stat().st_mode & 0o777 == 0o600


def test_a_ledger_that_cannot_be_written_says_so(tmp_path):
    path = tmp_path / "l.db"
    with opened(path) as ledger:
        ledger._db.execute("PRAGMA query_only = 1")

        with pytest.raises(TunerError, match="cannot be written") as caught:
            ledger.save(JOB)

    assert "TUNER_HOME" in caught.value.fix


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_damage_anywhere_in_the_file_is_one_clear_line_or_does_no_harm(tmp_path, seed):
    path = tmp_path / "l.db"
    jobs = [replace(JOB, tuned_model=f"tunedModels/m{n}", phase=Phase.DONE) for n in range(50)]
    with opened(path) as ledger:
        for job in jobs:
            ledger.save(job)
    content = bytearray(path.read_bytes())
    at = random.Random(seed).randrange(len(content) - 64)
    content[at : at + 64] = random.Random(seed).randbytes(64)
    path.write_bytes(content)

    try:
        with opened(path) as ledger:
            found = [mark.job for mark in ledger.jobs()]
            ledger.save(JOB)
    except TunerError as error:
        assert str(path) in error.what  # noqa: PT017 -- harmless damage raises nothing
    else:
        assert all(isinstance(job, Job) for job in found)
