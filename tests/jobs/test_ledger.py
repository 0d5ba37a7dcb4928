"""The bookmark survives what a disk and a crash can do to it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from tuner.errors import TunerError
from tuner.jobs.job import Evaluation, Interval, Job, Judged
from tuner.jobs.ledger import VERSION, Ledger
from tuner.types import Phase, TargetConfig

JOB = Job(
    name="capitals",
    target=TargetConfig("gemini", endpoint="127.0.0.1:1"),
    tuned_model="tunedModels/capitals-0123456789",
    content="capitals-0123456789",
    spec="/specs/capitals.yaml",
)
EVALUATION = Evaluation(
    "d1",
    "exact_match",
    {"exact_match": 0.9, "normalized_match": 1.0},
    {"exact_match": 0.0, "normalized_match": 0.1},
    1,
    Interval(0.8, 1.0),
    (Judged("Peru", "Lima", "Lima", "lima?", 3, 1.0, 0.0),),
)


def opened(path, now=1.0):
    return Ledger(path, lambda: now)


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
        "from tests.jobs.test_ledger import JOB, opened\n"
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
