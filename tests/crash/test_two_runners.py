"""Two processes and one job: one works on it; when it is killed, the other takes over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from multiprocessing.connection import Listener

import pytest

from tests.crash.runner_process import JOB
from tests.fakes import piped
from tests.fakes.target import FakeTarget
from tests.fakes.work import right_answers
from tuner.jobs.store import Store
from tuner.types import Phase, Role

CHANGES = ("create", "update", "delete", "cancel", "grant", "change_role", "revoke", "transfer")


class World:
    """A service in this process, for runners in others: a thread each, one call at a time."""

    def __init__(self, folder):
        self.folder = folder
        self.target = FakeTarget(answers=right_answers(JOB.tuned_model), looks_until_done=5)
        self.calls = []
        self.runners = []
        self.when = None
        self._lock = threading.Lock()
        self._listener = Listener(str(folder / "socket"), "AF_UNIX")

    def start(self):
        """One more runner; back when it is connected."""
        place = [self.folder, self.folder / "socket"]
        runner = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.runner_process", *place],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.runners.append(runner)
        pipe = self._listener.accept()
        threading.Thread(target=self._serve, args=(runner, pipe), daemon=True).start()
        return runner

    def _serve(self, runner, pipe):
        try:
            while True:
                name, given = pipe.recv()
                with self._lock:
                    answer = piped._answer(self.target, name, given)
                    self.calls.append((runner, name))
                if self.when and name == self.when[0]:
                    _, strike = self.when
                    self.when = None
                    strike(runner)
                pipe.send(answer)
        except (EOFError, ConnectionError):
            pipe.close()

    def at(self, name, strike):
        """Call ``strike`` with the runner whose call of ``name`` was done and is not yet answered."""
        self.when = (name, strike)

    def close(self):
        for runner in self.runners:
            if runner.poll() is None:
                runner.kill()
            runner.stdout.close()
            runner.wait()
        self._listener.close()


@contextmanager
def world_in(folder):
    world = World(folder)
    try:
        yield world
    finally:
        world.close()


def heard(runner, name):
    """Read on until the runner tells this; back with all it told."""
    told = []
    for line in runner.stdout:
        told.append(line.strip())
        if told[-1] == name:
            break
    return told


def assert_once(world):
    target = world.target
    assert (target.creates, target.grants, target.transfers) == (1, 2, 1)
    held = [p.grant for p in target.shared[JOB.tuned_model].values()]
    assert [g.email_address for g in held if g.role is Role.OWNER] == ["lead@example.com"]
    with Store(world.folder / "ledger.db", float) as ledger:
        assert ledger.find(JOB.where, JOB.tuned_model).phase is Phase.DONE


@pytest.mark.slow
def test_one_of_two_processes_works_and_the_other_watches(tmp_path):
    is_there = threading.Event()

    with world_in(tmp_path) as world:
        world.at("create", lambda _: is_there.wait())
        runners = [world.start()]
        runners.append(world.start())
        is_there.set()
        told = [heard(runner, "Ended") for runner in runners]

        assert [runner.wait(20) for runner in runners] == [0, 0]
        assert sum("Submitted" in each for each in told) == 1
        assert sum("Watching" in each for each in told) == 1
        acted = {runner for runner, name in world.calls if name in CHANGES}
        assert len(acted) == 1
        assert_once(world)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["create", "operation", "generate", "grant", "transfer"])
def test_a_killed_process_is_succeeded_within_two_seconds(tmp_path, call):
    killed_at = []
    has_asked, is_watched = threading.Event(), threading.Event()

    def hold(_):
        has_asked.set()
        is_watched.wait()

    def kill(runner):
        runner.kill()
        killed_at.append(time.monotonic())

    with world_in(tmp_path) as world:
        world.at("tuned_model", hold)  # so that the second is the one that watches
        world.start()
        has_asked.wait()
        second = world.start()
        heard(second, "Watching")
        world.at(call, kill)
        is_watched.set()

        heard(second, "TakenOver")
        seconds = time.monotonic() - killed_at[0]
        heard(second, "Ended")

        assert second.wait(20) == 0
        assert seconds < 2
        assert_once(world)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["create", "generate", "grant", "transfer"])
def test_a_stopped_process_keeps_its_job_until_it_is_killed(tmp_path, call):
    has_stopped = threading.Event()

    def stop(runner):
        os.kill(runner.pid, signal.SIGSTOP)
        has_stopped.set()

    with world_in(tmp_path) as world:
        world.at(call, stop)
        first = world.start()
        assert has_stopped.wait(20)
        second = world.start()
        heard(second, "Watching")
        so_far = [name for runner, name in world.calls if runner is second]
        assert not set(so_far) & set(CHANGES)

        first.kill()

        heard(second, "Ended")
        assert second.wait(20) == 0
        assert_once(world)
