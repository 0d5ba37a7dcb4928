"""Fixtures shared by all tests, and the choice of tests for `make test` and `make test-rest`."""

from __future__ import annotations

import gc
import logging
import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fakes import one_target, postgresql
from tuner import targets
from tuner.jobs import runner, store

settings.register_profile("no deadline", deadline=None)  # the machine may be busy
settings.load_profile("no deadline")

REST = (
    "configs/",
    "crash/test_disk_full.py",
    "crash/test_kill_in_recovery.py",
    "crash/test_service_kill.py",
    "data/test_bombs.py",
    "fuzz/",
    "sdk/",
)
"""Tests that `make test` leaves out, besides those of PostgreSQL, slow ones of docs/, and marked ones."""


def pytest_configure():
    """Exclude what is loaded until the end of collection from garbage collection, which saves time."""
    gc.disable()


def pytest_collection_modifyitems(items):
    root = Path(__file__).parent
    for item in items:
        path = item.path.relative_to(root).as_posix()
        is_slow_page = path.startswith("docs/") and item.get_closest_marker("slow")
        needs_postgres = "postgres" in item.fixturenames or "postgresql" in item.name
        if path.startswith(REST) or is_slow_page or needs_postgres:
            item.add_marker(pytest.mark.rest)


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(runner.POLL_S, "local", 0.0)
    monkeypatch.setitem(runner.PATIENCE_S, "local", 0.0)
    local = targets.TARGETS["local"]._replace(opener=f"{one_target.__name__}:open_fake")
    monkeypatch.setitem(targets.TARGETS, "local", local)
    path = tmp_path / "capitals.yaml"
    path.write_text(one_target.SPEC)
    rows = [f"question {n},answer {n}" for n in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["text_input,output", *rows]))
    one_target.OneTarget.target = one_target.knowing(path)
    return path


@pytest.fixture(scope="session", autouse=True)
def files_unsynced():
    """Skip syncing files to disk: no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SYNCHRONOUS", "OFF")
        patch.setattr(os, "fsync", lambda _: None)
        yield


def pytest_runtest_teardown():
    """Remove the log handler of `tuner serve`, whose stderr ends with the test."""
    root = logging.getLogger()
    for handler in [each for each in root.handlers if type(each) is logging.StreamHandler]:
        root.removeHandler(handler)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server for this test session; `postgresql.new_database` creates a database in it."""
    with postgresql.running() as server:
        yield server
