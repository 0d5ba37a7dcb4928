"""Losses by hand, and whether the tuning goes on."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest

from tuner.jobs.state_machine import early_stop_reason
from tuner.types import Operation, Snapshot


class Asked(NamedTuple):
    """As the spec says it."""

    patience_steps: int = 3
    min_delta: float = 0.0
    window_steps: int = 1


def tuning(*losses: float, every: int = 1, done: bool = False) -> Operation:
    snapshots = tuple(Snapshot(at * every, 1, loss, 0.0) for at, loss in enumerate(losses, start=1))
    return Operation("o", "m", done=done, completed_steps=len(losses), snapshots=snapshots)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("losses", "asked", "stops"),
    [
        ((), Asked(), False),
        ((4, 3, 2, 1), Asked(), False),
        ((1, 2, 2, 2), Asked(), True),
        ((1, 2, 2), Asked(), False),
        ((1, 1, 1, 1), Asked(), True),
        ((0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1), Asked(4, 0.0, 3), True),
        ((1, 2, 2, 0.9), Asked(), False),
        ((1, 0.95, 0.9, 0.85), Asked(3, 0.2), True),
        ((1, 0.95, 0.9, 0.75), Asked(3, 0.2), False),
        ((9, 1, 9, 1, 9, 1, 9), Asked(3, 0.0, 2), True),
        ((9, 1, 8, 1, 7, 1, 6), Asked(3, 0.0, 2), False),
        ((1, 2), Asked(1, 0.0, 3), False),
        ((1, NAN, NAN, NAN), Asked(), True),
        ((NAN, NAN, NAN), Asked(), False),
        ((NAN, NAN, NAN, NAN), Asked(), True),
        ((NAN, NAN, NAN, 1), Asked(), False),
        ((INF, INF, INF, INF), Asked(), True),
    ],
)
def test_a_loss_that_has_stopped_sinking_stops_the_tuning(
    losses: tuple[float, ...], asked: Asked, stops: bool
) -> None:
    assert bool(early_stop_reason(asked, tuning(*losses))) is stops


def test_steps_are_counted_and_not_reports() -> None:
    assert early_stop_reason(Asked(patience_steps=20), tuning(1, 2, 2, every=10))
    assert not early_stop_reason(Asked(patience_steps=21), tuning(1, 2, 2, every=10))


def test_a_window_is_counted_in_steps_too() -> None:
    assert early_stop_reason(Asked(20, window_steps=8), tuning(9, 1, 2, 2, every=10))
    assert not early_stop_reason(Asked(20, window_steps=40), tuning(9, 1, 2, 2, every=10))


def test_it_says_what_was_waited_for() -> None:
    assert (
        early_stop_reason(Asked(3, 0.01), tuning(0.5, 0.4123, 0.6, 0.6, 0.6))
        == "the loss has not fallen below 0.4123 by more than 0.01 for 3 steps"
    )
    assert early_stop_reason(Asked(), tuning(NAN, NAN, NAN, NAN)) == (
        "the loss has been NaN for 3 steps"
    )


def test_nothing_is_asked_or_nothing_is_left_to_stop() -> None:
    assert early_stop_reason(None, tuning(1, 2, 2, 2)) == ""
    assert early_stop_reason(Asked(), tuning(1, 2, 2, 2, done=True)) == ""
