"""Plans and runs of work made by hand, on a target in memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from tests.fakes.target import FakeTarget
from tests.fakes.work import WORK, job_of, right_answers
from tuner.jobs import runner
from tuner.jobs.runner import Timing
from tuner.pipelines.load import LoadedJob
from tuner.pipelines.plan import plan

JOB = job_of(WORK)


def knowing(**changes):
    return FakeTarget(answers=right_answers(JOB.tuned_model), **changes)


def asked(work=WORK, **changes):
    return LoadedJob(work.spec.job, Path("capitals.yaml"), work, **changes)


def planned(target, ledger, *works, tokens=lambda _: None):
    given = [each if isinstance(each, LoadedJob) else asked(each) for each in works or (WORK,)]

    async def opened(_):
        if isinstance(target, Exception):
            raise target
        return target

    return asyncio.run(plan(given, ledger, opened, tokens))


def run(target, ledger, monkeypatch, work=WORK, **changes):
    """As `tuner run` does."""
    monkeypatch.setattr("tuner.jobs.target_pool.open_target", lambda _: _Opened(target))

    async def followed():
        job = replace(runner.find_or_create_job(work, ledger), **changes)
        pace = Timing(sleep=lambda _: asyncio.sleep(0))
        return await runner.run_jobs([(job, work)], ledger, lambda _: None, pace)

    [outcome] = asyncio.run(followed())
    return outcome


class _Opened:
    def __init__(self, target):
        self.target = target

    async def __aenter__(self):
        return self.target

    async def __aexit__(self, *_):
        return None
