"""Job locks between real processes, and between runs in one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.errors import TunerError
from tuner.jobs.lock import PIPELINE, JobLocks

JOB = ("local", "tunedModels/capitals-0123456789")
HOLD = """
import sys
from pathlib import Path
from tuner.jobs.lock import JobLocks

locks = JobLocks(Path(sys.argv[1]))
print(locks.acquire(*sys.argv[2:]), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path):
    """Start a process that acquires a lock; returns it and whether it got the lock."""
    started = []

    def start(*key):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, tmp_path, *key],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, process.stdout.readline().strip() == "True"

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_one_process_has_a_lock_until_it_is_killed(tmp_path, hold):
    first, got_it = hold(*JOB)
    assert got_it
    assert not hold(*JOB)[1]
    locks = JobLocks(tmp_path)
    assert not locks.acquire(*JOB)

    first.kill()
    first.wait()

    assert locks.acquire(*JOB)
    assert not hold(*JOB)[1]


@pytest.mark.slow
def test_a_stopped_process_keeps_its_lock(tmp_path, hold):
    holder, _ = hold(*JOB)
    os.kill(holder.pid, signal.SIGSTOP)

    assert not JobLocks(tmp_path).acquire(*JOB)


def test_two_runs_in_one_process_exclude_each_other(tmp_path):
    first, second = JobLocks(tmp_path), JobLocks(tmp_path)
    assert first.acquire(*JOB)
    assert first.acquire(*JOB)
    assert not second.acquire(*JOB)

    JobLocks(tmp_path).close()
    assert not second.acquire(*JOB)
    first.close()
    assert second.acquire(*JOB)


def test_locks_of_a_thousand_jobs_need_one_descriptor(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    first, second = JobLocks(tmp_path), JobLocks(tmp_path)

    assert all(first.acquire("local", f"tunedModels/m{number}") for number in range(1000))

    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    assert not second.acquire("local", "tunedModels/m500")
    assert second.acquire("gemini", "tunedModels/m500")
    assert second.acquire(PIPELINE, "tunedModels/m500")


def test_a_released_lock_is_free_and_the_others_stay(tmp_path):
    first, second = JobLocks(tmp_path), JobLocks(tmp_path)
    first.acquire("local", "a")
    first.acquire("local", "b")

    first.release("local", "a")

    assert (first.holds("local", "a"), first.holds("local", "b")) == (False, True)
    assert second.acquire("local", "a")
    assert not second.acquire("local", "b")


def test_a_file_that_cannot_be_locked_is_an_error_with_a_fix(tmp_path):
    (tmp_path / "jobs.lock").mkdir()

    with pytest.raises(TunerError, match=r"jobs\.lock cannot be locked") as caught:
        JobLocks(tmp_path).acquire(*JOB)
    assert "TUNER_HOME" in caught.value.fix
