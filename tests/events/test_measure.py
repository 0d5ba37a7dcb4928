"""Tokens a step are counted in the background, and what cannot be counted is not told."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace

import pytest

from tests.fakes.target import FakeTarget
from tests.fakes.work import job_of, with_spec
from tuner.errors import Unavailable
from tuner.events.events import Event, EventKind
from tuner.events.progress import TokenMeter, tokens_per_row
from tuner.jobs.state_machine import advance
from tuner.types import Hyperparameters, Operation

WORK = with_spec(hyperparameters=Hyperparameters(batch_size=5))
JOB = job_of(WORK)


def told_by_a_meter(target):
    """A running tuning, looked at once, and everything its meter had to say."""
    told = []

    async def look():
        job = await advance(JOB, WORK, target, lambda _: None)
        with closing(TokenMeter(WORK, target, told.append)) as meter:
            meter(
                Event(
                    EventKind.PROGRESS,
                    job,
                    operation=Operation(job.operation, job.tuned_model, total_steps=9),
                )
            )
            await asyncio.wait([meter._task])

    asyncio.run(look())
    return told


def test_a_running_tuning_is_measured_once():
    progress, measured = told_by_a_meter(FakeTarget())

    assert progress.kind is EventKind.PROGRESS
    assert measured["tokens_per_step"] == 15  # "question 1answer 1" is three words


def test_a_service_that_does_not_count_leaves_the_rest_as_it_is():
    target = FakeTarget(faults={n: Unavailable("busy") for n in range(6, 9)})

    assert [event.kind for event in told_by_a_meter(target)] == [EventKind.PROGRESS]


@pytest.mark.parametrize("rows", [1, 7, 10])
def test_few_rows_are_enough(rows):
    target = FakeTarget()
    work = replace(WORK, examples=WORK.examples[:rows])

    assert asyncio.run(tokens_per_row(work, target)) == 3
    assert target.calls.count("count_tokens") == min(rows, 8)
