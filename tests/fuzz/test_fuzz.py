"""A few seconds of fuzz with a fixed seed; `make fuzz` takes its time."""

from __future__ import annotations

import asyncio

import pytest

from tests.fuzz import run
from tests.sdk.process import serving

pytestmark = pytest.mark.slow


def test_nothing_a_caller_sends_breaks_the_service(tmp_path):
    with serving(tmp_path / "home") as service:
        log = run.follow(service.process.stderr)
        outcome = asyncio.run(run.fuzz(service, seed=20, seconds=8))
        assert service.process.poll() is None
    assert not outcome.found, run.summary(outcome)
    assert log == []
    assert {"OK", "INVALID_ARGUMENT", "200", "400", "404"} <= set(outcome.statuses)


def test_growth_is_the_slope_of_the_second_half_and_not_of_the_start():
    steady = [(number, 100_000_000) for number in range(10, 20)]
    rising = [(number, 100_000_000 + number * 1_000_000) for number in range(10, 20)]
    start = [(number, number * 1_000_000) for number in range(10)]
    assert run.Outcome(memory=start + steady).growth == 0
    assert round(run.Outcome(memory=start + rising).growth) == 9_000_000
