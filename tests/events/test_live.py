"""The live view says where a job stands; what happened once stays on the screen."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tests.jobs.test_store import EVALUATION, JOB
from tuner.events.events import Event, EventKind
from tuner.events.progress import Terminal, sparkline, steps_per_second
from tuner.types import Operation, Phase, Snapshot

SNAPSHOTS = tuple(Snapshot(n, 1, 2.0 / n, 100.0 + n / 2) for n in range(1, 41))


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([1.0], "▁"), ([1.0, 1.0], "▁▁"), ([0.0, 7.0], "▁█"), ([3.0, 2.0, 1.0], "█▅▁")],
)
def test_a_sparkline_is_as_high_as_its_values(values, bars):
    assert sparkline(values) == bars


def test_a_long_sparkline_is_averaged_into_its_width():
    assert len(sparkline([float(n) for n in range(1000)], 24)) == 24
    assert sparkline([0.0, 0.0, 1.0, 1.0], 2) == "▁█"


def test_the_pace_is_that_of_the_last_steps_by_the_service_s_clock():
    assert steps_per_second(SNAPSHOTS) == pytest.approx(2.0)
    assert steps_per_second(SNAPSHOTS[:1]) == 0.0


def drawn(*told):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=110, color_system=None)
    with Terminal(console) as terminal:
        for event in told:
            terminal(event)
        terminal._live.refresh()
    return screen.getvalue()


def test_a_running_tuning_shows_steps_percent_loss_pace_and_time_left():
    operation = Operation(
        "op", JOB.tuned_model, total_steps=160, completed_steps=40, snapshots=SNAPSHOTS
    )

    screen = drawn(
        Event(EventKind.PROGRESS, JOB, operation=operation),
        Event(EventKind.MEASURED, JOB, tokens_per_step=600),
    )

    for shown in (
        "~1,200 tokens/s",
        "25%",
        "40/160 steps",
        "loss 0.050",
        "2.00 steps/s",
        "1:00 left",
        "capitals",
    ):
        assert shown in screen


def test_what_happened_once_stays_on_the_screen():
    screen = drawn(
        Event(EventKind.SUBMITTED, JOB, rows=12),
        Event(EventKind.EVALUATED, JOB, evaluation=EVALUATION, kept=False),
        Event(EventKind.WAITING, JOB, reason="the service is away", seconds=3.2),
    )

    assert "submitted tunedModels/capitals-0123456789, 12 rows" in screen
    assert "exact match 0.900 tuned, 0.000 base" in screen
    assert "trying again in 3 s: the service is away" in screen


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase.is_end])
def test_an_ended_job_leaves_the_screen_to_the_others(phase):
    ended = Event(EventKind.ENDED, replace(JOB, phase=phase, error="because"), changed=True)

    screen = drawn(Event(EventKind.SUBMITTED, JOB, rows=1), ended)

    assert ("because" in screen) is (phase is not Phase.DONE)
