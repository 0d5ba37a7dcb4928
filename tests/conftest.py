"""Fixtures that more than one room uses."""

from __future__ import annotations

import gc
import logging
import os

import pytest
from hypothesis import settings

from tests.fakes import one_target, postgresql
from tuner import targets
from tuner.jobs import runner, store

settings.register_profile("unhurried", deadline=None)  # a busy machine proves nothing wrong
settings.load_profile("unhurried")


def pytest_configure():
    """What is loaded and collected stays to the end: it is not looked through for garbage, now or later."""
    gc.disable()


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
    """No test takes the power away, and all else that is written is in the kernel's hands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SYNCHRONOUS", "OFF")
        patch.setattr(os, "fsync", lambda _: None)
        yield


def pytest_runtest_teardown():
    """`tuner serve` sends the log of its whole process to a stderr that ends with the test."""
    root = logging.getLogger()
    for handler in [each for each in root.handlers if type(each) is logging.StreamHandler]:
        root.removeHandler(handler)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL of this session's own; `postgresql.new_database` gives an empty database in it."""
    with postgresql.running() as server:
        yield server
