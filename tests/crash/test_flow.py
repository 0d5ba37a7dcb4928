"""A crash or a lost reply before or after any call changes nothing but the time a job takes."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.fakes.target import Crash, FakeTarget
from tests.fakes.work import WORK, job_of, right_answers
from tuner.errors import Unavailable
from tuner.jobs.runner import JobDriver, Timing
from tuner.jobs.state_machine import advance
from tuner.jobs.store import Store
from tuner.types import Phase, Role

pytestmark = pytest.mark.slow

JOB = job_of(WORK)


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return self.seconds

    async def sleep(self, seconds):
        self.seconds += seconds


def run_once(path, target, *, keep=True):
    """One process: it takes up the ledger's bookmark and follows the job."""
    clock = Clock()
    with Store(path, clock.now) as ledger:
        job = ledger.find(JOB.where, JOB.tuned_model) if keep else None
        runner = JobDriver(ledger, lambda _: None, Timing(now=clock.now, sleep=clock.sleep))
        job = ledger.save(job or JOB)
        return asyncio.run(runner.follow(job, WORK, target))


def until_done(path, target, *, keep=True):
    """Processes one after another until one lives to see the end."""
    for _ in range(10):
        try:
            return run_once(path, target, keep=keep)
        except Crash:
            continue
    raise AssertionError("it never ends")


def fresh(**changes):
    return FakeTarget(answers=right_answers(JOB.tuned_model), **changes)


def moments():
    target = fresh()
    asyncio.run(_through(target))
    return target.moment


async def _through(target):
    job = JOB
    while not job.phase.is_end:
        job = await advance(job, WORK, target, lambda _: None)


def assert_once(target, job):
    assert job.phase is Phase.DONE
    assert (target.creates, target.transfers) == (1, 1)
    held = [permission.grant for permission in target.shared[JOB.tuned_model].values()]
    assert Counter(grant.grantee for grant in held).most_common(1)[0][1] == 1
    assert {grant.email_address: grant.role for grant in held} == {
        "lead@example.com": Role.OWNER,
        "me@example.com": Role.WRITER,
        "ml@example.com": Role.WRITER,
        "": Role.READER,
    }
    assert target.grants == 2


@pytest.mark.parametrize("keep", [True, False], ids=["ledger kept", "ledger lost"])
@pytest.mark.parametrize("crash_at", range(moments()))
def test_a_crash_at_any_moment_changes_nothing_but_the_time(tmp_path, crash_at, keep):
    target = fresh(crash_at=crash_at)

    job = until_done(tmp_path / "l.db", target, keep=keep)

    assert_once(target, job)


@pytest.mark.parametrize("lost_at", range(moments()))
def test_a_lost_reply_at_any_moment_changes_nothing_but_the_time(tmp_path, lost_at):
    target = fresh(faults={lost_at: Unavailable("the reply was lost")})

    job = run_once(tmp_path / "l.db", target)

    assert_once(target, job)


@pytest.mark.parametrize("first", range(0, moments(), 3))
def test_a_crash_in_the_recovery_from_a_crash_changes_nothing_either(tmp_path, first):
    for second in range(first + 1, first + 8):
        target = fresh(faults={first: Crash(), second: Crash()})

        job = until_done(tmp_path / f"{second}.db", target)

        assert_once(target, job)


def test_the_intent_is_in_the_ledger_before_the_first_call(tmp_path):
    target = fresh(crash_at=0)

    with pytest.raises(Crash):
        run_once(tmp_path / "l.db", target)

    with Store(tmp_path / "l.db", float) as ledger:
        assert ledger.find(JOB.where, JOB.tuned_model).tuned_model == JOB.tuned_model
