"""The ledger under processes that are killed, disks that are full, and several who open it at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from tests.jobs.test_store import JOB, WHOSE, first, opened
from tuner.jobs.store import VERSION

pytestmark = pytest.mark.slow

KILLED_WHILE_UPGRADING = """
import os, pathlib, signal, sqlite3, sys
from tuner.jobs.store import Store

class Mortal:
    def __init__(self, db, left):
        self.db, self.left = db, left
    def execute(self, *given):
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        return self.db.execute(*given)
    def executemany(self, *given):
        return self.db.executemany(*given)

from tuner.jobs import store
migrate, left = store.migrate, int(sys.argv[2])
store.migrate = lambda db: migrate(Mortal(db, left))
Store(pathlib.Path(sys.argv[1]), float)
"""

SAVES_UNTIL_FULL = """
import pathlib, resource, signal, sys
from dataclasses import replace
from tests.jobs.test_store import JOB, opened
from tuner.errors import TunerError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with opened(pathlib.Path(sys.argv[1])) as ledger:
    ledger.save(JOB)
    most = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    saved = 0
    try:
        while True:
            ledger.save(replace(JOB, completed_steps=saved + 1))
            saved += 1
    except TunerError as error:
        print(saved)
        print(error)
    except BaseException as error:
        print(repr(error))
"""

SAVES_BESIDE_OTHERS = """
import pathlib, sys
from dataclasses import replace
from tests.jobs.test_store import JOB, opened

for number in range(20):
    with opened(pathlib.Path(sys.argv[1])) as ledger:
        ledger.save(replace(JOB, tuned_model=f"tunedModels/{sys.argv[2]}-{number}"))
"""


def python(code, *given):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, given)], capture_output=True, text=True, check=False
    )


def version_of(path):
    db = sqlite3.connect(path)
    found = db.execute("PRAGMA user_version").fetchone()[0]
    db.close()
    return found


@pytest.mark.parametrize("statements", range(0, 14, 2))
def test_one_killed_in_the_middle_of_an_upgrade_leaves_the_old_ledger(tmp_path, statements):
    path = tmp_path / "l.db"
    first(path)

    killed = python(KILLED_WHILE_UPGRADING, path, statements)

    if killed.returncode == 0:
        assert statements > 9
        assert version_of(path) == VERSION
        return
    assert killed.returncode == -9, killed.stderr
    assert version_of(path) == 1
    with opened(path) as ledger:
        assert ledger.find(*WHOSE).handed_to == "a@b.c"
    assert version_of(path) == VERSION


@pytest.mark.parametrize("most_kib", [24, 64, 100, 200])
def test_a_full_disk_is_one_clear_line_and_loses_nothing_that_was_saved(tmp_path, most_kib):
    path = tmp_path / "l.db"

    ran = python(SAVES_UNTIL_FULL, path, most_kib * 1024)

    saved, *said = ran.stdout.splitlines()
    assert f"the store {path} cannot be used" in said[0], ran
    assert "free disk space" in said[1]
    with opened(path) as ledger:
        assert ledger.find(*WHOSE).completed_steps == int(saved)


def test_many_processes_upgrade_and_write_one_ledger_at_once(tmp_path):
    path = tmp_path / "l.db"
    first(path)
    ran = [
        subprocess.Popen([sys.executable, "-c", SAVES_BESIDE_OTHERS, path, str(number)])
        for number in range(4)
    ]

    assert [each.wait(60) for each in ran] == [0] * 4
    with opened(path) as ledger:
        assert len(ledger.jobs()) == 4 * 20 + 1
        assert ledger.find(*WHOSE).handed_to == "a@b.c"
        assert JOB.tuned_model in {mark.job.tuned_model for mark in ledger.jobs()}
