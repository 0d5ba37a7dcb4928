"""The world in which runners live and die, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.crash.lives import Plan, ask


@pytest.fixture(scope="module")
def world():
    """Runs a plan, and returns what happened."""
    command = [sys.executable, "-m", "tests.crash.lives"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield lambda *plan: ask(process, Plan(*plan))
        process.stdin.close()
