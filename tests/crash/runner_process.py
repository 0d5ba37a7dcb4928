"""A runner in a process of its own, whose service is in the test's: ``python -m`` FOLDER ADDRESS.

It follows the one job of ``tests.fakes.work`` and prints the kind of each event to stdout.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from multiprocessing.connection import Client
from pathlib import Path

from tests.fakes.piped import PipedTarget
from tests.fakes.work import WORK, job_of
from tuner import targets
from tuner.jobs import runner
from tuner.jobs.runner import Runner, Timing, find_or_create_job
from tuner.jobs.store import Store

WORK_IN_MEMORY = replace(WORK, is_on_disk=False)
JOB = replace(job_of(WORK), spec="")


class Mine:
    """The one target of this process."""

    target: PipedTarget


async def open_piped(_config: object) -> PipedTarget:
    return Mine.target


async def follow(folder: Path) -> int:
    def tell(event: object) -> None:
        sys.stdout.write(f"{event.kind.value}\n")
        sys.stdout.flush()

    with Store(folder / "ledger.db", time.time) as ledger:
        async with Runner(ledger, tell, Timing()) as session:
            outcome = await session.follow(
                find_or_create_job(WORK_IN_MEMORY, ledger), WORK_IN_MEMORY
            )
    return outcome.failure.exit_code if outcome.failure else 0


def main(folder: Path, address: str) -> int:
    Mine.target = PipedTarget(Client(address, "AF_UNIX"), lambda _: None)
    local = targets.TARGETS["local"]._replace(opener=f"{__name__}:open_piped")
    targets.TARGETS["local"] = local
    runner.POLL_S["local"] = 0.05
    return asyncio.run(follow(folder))


if __name__ == "__main__":
    sys.modules["tests.crash.runner_process"] = sys.modules["__main__"]
    Mine.__module__ = "tests.crash.runner_process"
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
