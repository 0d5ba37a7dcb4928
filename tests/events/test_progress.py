"""The live view shows the progress of each job; finished events stay on the screen."""

from __future__ import annotations

import asyncio
import io
from contextlib import closing
from dataclasses import replace

import pytest
from rich.console import Console

from tests.fakes.target import FakeTarget
from tests.fakes.work import job_of, with_spec
from tests.jobs.test_store import EVALUATION, JOB
from tuner.errors import Unavailable
from tuner.events.events import Event, EventKind
from tuner.events.progress import Terminal, TokenMeter, sparkline
from tuner.jobs.state_machine import advance
from tuner.types import Hyperparameters, Operation, Phase, Snapshot

SNAPSHOTS = tuple(Snapshot(n, 1, 2.0 / n, 100.0 + n / 2) for n in range(1, 41))


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([1.0], "▁"), ([1.0, 1.0], "▁▁"), ([0.0, 7.0], "▁█"), ([3.0, 2.0, 1.0], "█▅▁")],
)
def test_a_sparkline_has_the_heights_of_its_values(values, bars):
    assert sparkline(values) == bars


def test_a_long_sparkline_is_averaged_into_its_width():
    assert len(sparkline([float(n) for n in range(1000)], 24)) == 24
    assert sparkline([0.0, 0.0, 1.0, 1.0], 2) == "▁█"


def drawn(*events):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=110, color_system=None)
    with Terminal(console) as terminal:
        for event in events:
            terminal(event)
        terminal._live.refresh()
    return screen.getvalue()


def test_a_running_tuning_shows_steps_percent_loss_speed_and_time_left():
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


def test_finished_events_stay_on_the_screen():
    screen = drawn(
        Event(EventKind.SUBMITTED, JOB, rows=12),
        Event(EventKind.EVALUATED, JOB, evaluation=EVALUATION, kept=False),
        Event(EventKind.WAITING, JOB, reason="the service is away", seconds=3.2),
    )

    assert "submitted tunedModels/capitals-0123456789, 12 rows" in screen
    assert "exact match 0.900 tuned, 0.000 base" in screen
    assert "trying again in 3 s: the service is away" in screen


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase.is_end])
def test_an_ended_job_shows_its_error(phase):
    ended = Event(EventKind.ENDED, replace(JOB, phase=phase, error="because"), changed=True)

    screen = drawn(Event(EventKind.SUBMITTED, JOB, rows=1), ended)

    assert ("because" in screen) is (phase is not Phase.DONE)


WORK = with_spec(hyperparameters=Hyperparameters(batch_size=5))


NEW_JOB = job_of(WORK)


def events_of_a_meter(target):
    """Poll a running tuning once, and return the events of its meter."""
    events = []

    async def poll():
        job = await advance(NEW_JOB, WORK, target, lambda _: None)
        with closing(TokenMeter(WORK, target, events.append)) as meter:
            meter(
                Event(
                    EventKind.PROGRESS,
                    job,
                    operation=Operation(job.operation, job.tuned_model, total_steps=9),
                )
            )
            await asyncio.wait([meter._task])

    asyncio.run(poll())
    return events


def test_the_tokens_per_step_of_a_running_tuning_are_counted_once():
    progress, measured = events_of_a_meter(FakeTarget())

    assert progress.kind is EventKind.PROGRESS
    assert measured["tokens_per_step"] == 15  # "question 1answer 1" is three words


def test_a_service_that_cannot_count_tokens_changes_nothing_else():
    target = FakeTarget(faults={n: Unavailable("busy") for n in range(6, 9)})

    assert [event.kind for event in events_of_a_meter(target)] == [EventKind.PROGRESS]
