"""A whole job against the real service, through a proxy that loses its calls."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING, Literal

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

from tests.fakes.grpc_proxy import Fault, proxied
from tests.fakes.grpc_server import Refusal
from tests.fakes.service_process import running_service
from tests.fakes.work import WORK, job_of, with_spec
from tuner.errors import NotAllowed
from tuner.jobs.runner import Timing, run_jobs
from tuner.jobs.store import Store
from tuner.targets import open_target, rpc
from tuner.types import Grant, Hyperparameters, Phase, Role, TargetConfig

Code = grpc.StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.jobs.outcome import Outcome
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.types import Permission

pytestmark = pytest.mark.slow

SOON = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=200_000_000))
REFUSALS = {
    "unavailable": Refusal(Code.UNAVAILABLE),
    "deadline": Refusal(Code.DEADLINE_EXCEEDED),
    "internal": Refusal(Code.INTERNAL),
    "quota": Refusal(Code.RESOURCE_EXHAUSTED, "slow down", (SOON,)),
    "reset": None,
}
CHANGES = ("CreateTunedModel", "CreatePermission", "TransferOwnership")
ANA = "ana@example.com"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_service(
        tmp_path_factory.mktemp("home"), "--base-model", "tiny=builtin:tiny"
    ) as at:
        yield at


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "RETRY_DELAYS_S", (0.01,) * 4)


def work(name: str, role: Role = Role.READER, heir: str = "lead@example.com") -> PreparedJob:
    grants = (Grant(role, email_address=ANA),)
    quick = Hyperparameters(epoch_count=1, batch_size=8)
    changed = with_spec(
        job=name, grants=grants, transfer_ownership=heir, evaluation=None, hyperparameters=quick
    )
    return replace(
        changed,
        examples=tuple(each._replace(output=f"{each.output} {name}") for each in WORK.examples),
    )


async def run(
    work: PreparedJob, endpoint: str, ledger: Store, *faults: Fault
) -> tuple[Outcome, list[str]]:
    """One runner's outcome, and what reached the proxy."""
    pace = Timing(sleep=lambda seconds: asyncio.sleep(min(seconds, 0.05)))
    async with proxied(endpoint, *faults) as (address, proxy):
        target = TargetConfig("local", endpoint=address)
        here = replace(work, spec=replace(work.spec, target=target))
        outcomes = await run_jobs([(job_of(here), here)], ledger, lambda _: None, pace)
        return outcomes[0], proxy.calls


async def shared(model: str, endpoint: str) -> list[Permission]:
    async with open_target(TargetConfig("local", endpoint=endpoint)) as target:
        return list(await target.permissions(model))


def roles(permissions: list[Permission]) -> dict[str, Role]:
    return {each.grant.email_address: each.grant.role for each in permissions}


@pytest.mark.parametrize(
    ("when", "hows"),
    [
        ("after", ("unavailable", "deadline", "reset")),
        ("after", ("reset", "internal", "quota")),
        ("after", ("quota", "unavailable", "internal")),
        ("before", ("reset", "quota", "deadline")),
    ],
)
def test_a_lost_call_is_made_up_for_and_nothing_is_done_twice(
    endpoint: str, tmp_path: Path, when: Literal["before", "after"], hows: tuple[str, ...]
) -> None:
    faults = [
        Fault(method, 1, when, REFUSALS[how]) for method, how in zip(CHANGES, hows, strict=True)
    ]
    wanted, ledger = work(f"{when}-{'-'.join(hows)}"), Store(tmp_path / "l.sqlite", time.time)

    outcome, calls = asyncio.run(run(wanted, endpoint, ledger, *faults))

    assert (outcome.error, outcome.job.phase) == (None, Phase.DONE)
    sent = 2 if when == "before" else 1
    assert [calls.count(method) for method in CHANGES] == [sent] * 3
    held = roles(asyncio.run(shared(outcome.job.tuned_model, endpoint)))
    assert (held[ANA], held["lead@example.com"]) == (Role.READER, Role.OWNER)


def test_a_lost_change_of_a_role_is_made_up_for(endpoint: str, tmp_path: Path) -> None:
    ledger = Store(tmp_path / "l.sqlite", time.time)

    async def changed() -> None:
        await run(work("roles", heir=""), endpoint, ledger)
        for how, role in zip(REFUSALS, cycle([Role.WRITER, Role.READER]), strict=False):
            lost = Fault("UpdatePermission", 1, "after", REFUSALS[how])
            outcome, calls = await run(work("roles", role, ""), endpoint, ledger, lost)
            assert (outcome.error, outcome.job.phase) == (None, Phase.DONE), how
            assert calls.count("UpdatePermission") == 1, how
            assert roles(await shared(outcome.job.tuned_model, endpoint))[ANA] is role, how

    asyncio.run(changed())


def test_who_is_not_known_is_refused_at_once_and_goes_on_later(
    endpoint: str, tmp_path: Path
) -> None:
    wanted, ledger = work("who"), Store(tmp_path / "l.sqlite", time.time)
    nobody = Refusal(Code.UNAUTHENTICATED)

    async def begun_again() -> Outcome:
        for method in CHANGES:
            outcome, calls = await run(wanted, endpoint, ledger, Fault(method, 1, "before", nobody))
            assert isinstance(outcome.error, NotAllowed), method
            assert calls.count(method) == 1
        return (await run(wanted, endpoint, ledger))[0]

    assert asyncio.run(begun_again()).job.phase is Phase.DONE
