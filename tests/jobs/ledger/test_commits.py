"""What many jobs write in one moment is one transaction, and each hears of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.jobs.test_store import JOB
from tuner.errors import Superseded, TunerError
from tuner.jobs import lock
from tuner.jobs.store import Store

JOBS = [replace(JOB, tuned_model=f"tunedModels/{number}") for number in range(20)]


@pytest.fixture
def moments():
    return []


@pytest.fixture
def ledger(tmp_path, moments):
    with Store(tmp_path / "l.db", float, moments.append) as opened:
        yield opened


async def all_saved(ledger, claimed=()):
    """What each of JOBS came to; those that are ``claimed`` are saved with that."""
    held = dict(claimed)
    saves = (ledger.saved(job, claim=held.get(job)) for job in JOBS)
    return await asyncio.gather(*saves, return_exceptions=True)


def test_what_is_written_in_one_moment_is_one_commit(ledger, moments):
    assert asyncio.run(all_saved(ledger)) == [None] * len(JOBS)
    assert moments == ["begin", "commit", "committed"]
    assert {found.job for found in ledger.jobs()} == set(JOBS)


def test_each_claim_is_told_to_the_one_who_made_it(ledger, moments):
    me, other = lock.register(ledger), lock.register(ledger)
    theirs = ledger.begin(JOBS[3], other)
    moments.clear()

    async def begun():
        return await asyncio.gather(*(ledger.begun(job, me) for job in JOBS))

    found = asyncio.run(begun())
    assert [each.name for each in found if isinstance(each, lock.Claim)] == [
        job.tuned_model for job in JOBS if job is not JOBS[3]
    ]
    assert found[3].runner == theirs.me.id
    assert moments.count("commit") == 1


def test_one_that_was_taken_over_is_told_so_and_the_others_are_written(ledger):
    me, other = lock.register(ledger), lock.register(ledger)
    claim = ledger.begin(JOBS[0], me)
    ledger.begin(JOBS[0], other, lambda _: True)

    first, *rest = asyncio.run(all_saved(ledger, [(JOBS[0], claim)]))
    assert isinstance(first, Superseded)
    assert rest == [None] * (len(JOBS) - 1)
    assert len(ledger.jobs()) == len(JOBS)


def test_where_the_ledger_fails_nothing_is_written_and_all_are_told(tmp_path):
    def fail(moment):
        if moment == "commit":
            raise TunerError("the disk is full")

    with Store(tmp_path / "l.db", float, fail) as ledger:
        told = asyncio.run(all_saved(ledger))
        assert [type(each) for each in told] == [TunerError] * len(JOBS)
        assert ledger.jobs() == []


def test_what_nobody_waits_for_any_more_is_written_all_the_same(ledger):
    async def given_up():
        saving = asyncio.create_task(ledger.saved(JOB))
        await asyncio.sleep(0)
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)

    asyncio.run(given_up())
    assert [found.job for found in ledger.jobs()] == [JOB]
