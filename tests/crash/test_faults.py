"""Every call of a job fails once, its effect or its reply lost, in every way a service fails."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

from tests.crash.shapes import WORK, Service, effects
from tests.fakes import clock
from tuner import targets
from tuner.jobs import store
from tuner.jobs.runner import Runner, Timing, find_or_create_job
from tuner.jobs.store import Store
from tuner.targets.auth import Connection, Identity, parse_endpoint
from tuner.targets.failures import Failure, explain
from tuner.types import Phase

pytestmark = pytest.mark.slow

HERE = Connection(None, parse_endpoint("http://127.0.0.1:1"), Identity("none"), "local")


def retry_in(seconds):
    whole = int(seconds)
    delay = duration_pb2.Duration(seconds=whole, nanos=round((seconds - whole) * 1e9))
    return (error_details_pb2.RetryInfo(retry_delay=delay),)


PASSING = {
    "unavailable": Failure(grpc.StatusCode.UNAVAILABLE, "try again"),
    "reset": Failure(grpc.StatusCode.UNAVAILABLE, "Stream removed"),
    "deadline": Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "too slow"),
    "internal": Failure(grpc.StatusCode.INTERNAL, "oops"),
    "quota for a moment": Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", retry_in(0.2)),
    "quota for a minute": Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", retry_in(60)),
}
REFUSED = Failure(grpc.StatusCode.UNAUTHENTICATED, "who are you")


class Now:
    """What ``local`` opens."""

    service: Service


async def open_service(_config):
    return Now.service


@pytest.fixture(autouse=True)
def _local(monkeypatch):
    local = targets.TARGETS["local"]._replace(opener=f"{__name__}:open_service")
    monkeypatch.setitem(targets.TARGETS, "local", local)
    monkeypatch.setattr(store, "SYNCHRONOUS", "OFF")


def run(folder, service):
    """A run of its own; its outcome, and how many seconds it took."""
    Now.service = service

    async def followed():
        began = clock.now()
        with Store(folder / "ledger.db", float) as ledger:
            pace = Timing(now=clock.now, sleep=asyncio.sleep)
            async with Runner(ledger, lambda _: None, pace, send=hear) as session:
                outcome = await session.follow(find_or_create_job(WORK, ledger), WORK)
        return outcome, clock.now() - began

    async def hear(_sink, notice):
        service.told.append(notice.id)

    return clock.run_timeless(followed())


def moments(folder):
    service = Service()
    run(folder, service)
    return service.moment


def failing(moment, failure):
    return Service(faults={moment: explain(failure, HERE)})


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_changes_nothing_but_the_time(tmp_path, fault):
    every = moments(tmp_path)
    for moment in range(every):
        folder = tmp_path / str(moment)
        folder.mkdir()
        service = failing(moment, PASSING[fault])

        outcome, seconds = run(folder, service)

        assert outcome.job.phase is Phase.DONE, (moment, outcome.error)
        assert Counter(service.effects) == effects("job"), moment
        assert len(set(service.told)) == 2
        waited = 60.0 if fault == "quota for a minute" else 0.0
        assert waited <= seconds < waited + 20.0, moment


def test_who_is_refused_stops_with_exit_code_4_and_goes_on_from_there(tmp_path):
    for moment in range(moments(tmp_path)):
        folder = tmp_path / str(moment)
        folder.mkdir()
        service = failing(moment, REFUSED)

        first, _ = run(folder, service)
        last, _ = run(folder, service)

        assert first.failure is None or first.failure.exit_code == 4, moment
        assert last.job.phase is Phase.DONE, (moment, last.error)
        assert Counter(service.effects) == effects("job"), moment
        assert len(set(service.told)) == 2
