"""Lives of a runner, one after another, each killed where it was told to: kill -9, by itself.

``python -m tests.crash.lives`` is the world around them: a service in memory and a folder on disk.
It reads plans, a line of JSON each, forks a life at a time until one sees the end, and answers with
what was done. It has no threads and no gRPC, so that forking is safe.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.crash import shapes
from tests.fakes import clock
from tests.fakes.piped import PipedTarget, serve
from tuner import targets
from tuner.evaluation import gate
from tuner.jobs import store
from tuner.jobs.audit_log import AuditLog, Change
from tuner.jobs.runner import Runner, Timing, find_or_create_job
from tuner.jobs.store import Store
from tuner.pipelines.run import run_pipeline

if TYPE_CHECKING:
    import subprocess
    from multiprocessing.connection import Connection

    from tuner.events.notify import Notification
    from tuner.jobspec.schema import Notify
    from tuner.types import TargetConfig

MOST_LIVES = 20
LIFE_S = 20
MEMORY = Path("/dev/shm")  # noqa: S108 -- a new folder is made in it


class Plan(NamedTuple):
    """What is to happen.

    Attributes:
        what: ``job`` or ``pipeline``.
        kills: At which moment each life ends; those after the last one live on.
        loses: Whether the ledger is deleted after each death.
    """

    what: str
    kills: tuple[int, ...] = ()
    loses: bool = False


class Result(NamedTuple):
    """What happened.

    Attributes:
        lives: How many it took.
        exit_code: Of the last one.
        phases: Of all jobs in the ledger, sorted.
        evaluated: How many of them have an evaluation.
        effects: What was done at the service, in order.
        unintended: What was done without a line in the audit log before it.
        told: The ids of the notices that were sent, in order.
        moments: What the last life did, a name for each.
    """

    lives: int
    exit_code: int
    phases: list[str]
    evaluated: int
    effects: list[list[str]]
    unintended: list[list[str]]
    told: list[str]
    moments: list[str]


class Moments:
    """Counts what a life does; at one of them it is killed."""

    def __init__(self, kill_at: int) -> None:
        self.names: list[str] = []
        self._kill_at = kill_at

    def __call__(self, name: str) -> None:
        if len(self.names) == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.names.append(name)


class Life:
    """What a forked process does until it is killed, or done."""

    target: PipedTarget

    def __init__(self, what: str, folder: Path, pipe: Connection, kill_at: int) -> None:
        self.what, self.folder, self.pipe = what, folder, pipe
        self.moments = Moments(kill_at)

    def __call__(self) -> None:
        os.chdir(self.folder)  # where its files are
        random.seed(0)  # waits are jittered, and moments are named by their number
        Life.target = PipedTarget(self.pipe, self.moments)
        local = targets.TARGETS["local"]._replace(opener=f"{__name__}:open_piped")
        targets.TARGETS["local"] = local
        self._mortal_audit()
        with Store(self.folder / "ledger.db", float, self.moments) as ledger:
            exit_code = clock.run_timeless(self._run(ledger))
            found = [bookmark.job for bookmark in ledger.jobs()]
        phases = sorted(job.phase.value for job in found)
        evaluated = sum(job.evaluation is not None for job in found)
        self.pipe.send(("end", (exit_code, phases, evaluated, self.moments.names)))

    async def _run(self, ledger: Store) -> int:
        pace = Timing(now=clock.now, sleep=asyncio.sleep)
        async with Runner(ledger, lambda _: None, pace, send=self._send) as session:
            if self.what == "pipeline":
                return (await run_pipeline(shapes.PIPELINE, session)).exit_code
            outcome = await session.follow(find_or_create_job(shapes.WORK, ledger), shapes.WORK)
            return outcome.failure.exit_code if outcome.failure else 0

    async def _send(self, _sink: Notify, notice: Notification) -> None:
        await Life.target.post(notice.id)

    def _mortal_audit(self) -> None:
        """One may die around each line of the audit log."""
        write, moments = AuditLog.write, self.moments

        def mortal(audit: AuditLog, state: str, change: Change) -> None:
            moments(f"before {state} {change.action}")
            write(audit, state, change)
            moments(f"after {state} {change.action}")

        AuditLog.write = mortal


async def open_piped(_config: TargetConfig) -> PipedTarget:
    """What ``local`` opens in a life."""
    return Life.target


def prepare() -> None:
    """What no life should have to do by itself."""
    store.SYNCHRONOUS = "OFF"  # a process that is killed loses nothing of what the kernel has
    gate.interval([0.0, 1.0], "numpy is loaded now")
    gc.freeze()


def run(plan: Plan) -> Result:
    """Lives one after another, until one of them ends by itself."""
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    target = shapes.service()
    for file in shapes.FILES:
        (folder / file).write_text("jobs: {}\n")
    try:
        for lives in range(1, MOST_LIVES + 1):
            kill_at = plan.kills[lives - 1] if lives <= len(plan.kills) else -1
            end = live(Life, plan.what, folder, target, kill_at)
            if end is not None:
                missing = unintended(target.effects, folder / "logs" / "audit.jsonl")
                return Result(lives, *end[:3], target.effects, missing, target.told, end[3])
            if plan.loses:
                for file in folder.glob("ledger.db*"):
                    file.unlink()
        raise AssertionError(f"it never ends: {plan}")
    finally:
        shutil.rmtree(folder)


def live(kind, what, folder, target, kill_at):
    """Fork one life and serve it; how it ended, None when it was killed."""
    ours, theirs = Pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(LIFE_S)
            ours.close()
            kind(what, folder, theirs, kill_at)()
        except BaseException:  # noqa: BLE001 -- nothing of the life may go on in the world
            traceback.print_exc()
            theirs.send(("end", None))
        finally:
            os._exit(0)
    theirs.close()
    end = serve(ours, target)
    ours.close()
    os.waitpid(pid, 0)
    return end


def unintended(effects: list[tuple[str, ...]], audit: Path) -> list[tuple[str, ...]]:
    """Effects that no line of the audit log announced."""
    lines = audit.read_text().splitlines() if audit.exists() else []
    said = {
        (line["action"], line["tuned_model"])
        for line in map(json.loads, lines)
        if line["state"] == "intended"
    }
    return [effect for effect in effects if effect[:2] not in said]


def main() -> None:
    """Answer plans, a line each, as long as there are any."""
    prepare()
    for line in sys.stdin:
        given = json.loads(line)
        result = run(Plan(**given | {"kills": tuple(given["kills"])}))
        sys.stdout.write(json.dumps(result._asdict()) + "\n")
        sys.stdout.flush()


def ask(world: subprocess.Popen[str], plan: Plan) -> Result:
    """What the process ``world`` makes of a plan."""
    assert world.stdin
    assert world.stdout
    world.stdin.write(json.dumps(plan._asdict()) + "\n")
    world.stdin.flush()
    return Result(**json.loads(world.stdout.readline()))


if __name__ == "__main__":
    main()
