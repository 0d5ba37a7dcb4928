"""A whole run in bad weather, by a seed: nothing is done twice, unasked, unannounced, or by two."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.crash.guards import BREAKS

pytestmark = pytest.mark.slow

SEEDS = 300
AT_ONCE = 50


def simulated(*given):
    command = [sys.executable, "-m", "tests.crash.simulator", *map(str, given)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "first",
    [pytest.param(n, marks=pytest.mark.rest if n else ()) for n in range(0, SEEDS, AT_ONCE)],
)
def test_no_seed_breaks_a_promise(first):
    done = simulated(first, first + AT_ONCE)

    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("guard", BREAKS)
def test_the_simulator_sees_when_a_guard_is_missing(guard):
    done = simulated(0, SEEDS, "--without", guard)

    assert done.returncode == 1, done.stderr
    assert "WRONG: " in done.stdout
    assert done.stdout.startswith("seed ")


def test_a_seed_tells_the_same_story_again():
    once, again = simulated(7), simulated(7)

    assert once.stdout == again.stdout != ""
