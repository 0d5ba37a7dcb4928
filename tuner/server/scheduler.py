"""The tuning queue at work: claims a task, drives the engine, writes down what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from tuner.engine import EngineError, NoRoom, TuningTask, WorkerDied
from tuner.server import telemetry
from tuner.server.api_errors import Code
from tuner.server.store import models, queue
from tuner.server.store.database import StoreFailed, StoreTaken
from tuner.server.store.models import SnapshotRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tuner.engine import Engine, Step
    from tuner.server.store.database import Store, Topic
    from tuner.server.store.queue import Claim

LEASE_MS = 60_000
RENEW_MS = 20_000
WRITE_EVERY_S = 0.25
INSIST_EVERY_S = 1.0
LOOK_EVERY_S = 5.0
DEATHS_WITHOUT_PROGRESS = 3

log = logging.getLogger(__name__)


class TuningScheduler:
    """Runs queued tunings, ``workers`` at a time.

    The database is the truth: what is kept here can be lost at any moment, and a service that
    starts again goes on with every task from its last checkpoint.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        folder: Path,
        clock: Callable[[], float] = time.time,
        workers: int = 1,
    ) -> None:
        self._store = store
        self._engine = engine
        self._folder = folder
        self._clock = clock
        self._workers = workers
        self._new_task = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}

    async def prepare(self) -> None:
        """Take over what an earlier service left; we hold the folder's lock, so it is dead.

        Raises:
            StoreFailed: The database cannot be used.
        """
        await self._store.write(queue.release_all)
        await self.tidy()

    async def run(self) -> None:
        """Work until cancelled; tasks under way go back to the queue then."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    def wake(self) -> None:
        """Say that there is something new in the queue."""
        self._new_task.set()

    async def is_busy(self) -> bool:
        """Whether anything waits or runs; while the database is away, something may."""
        try:
            return bool(self._running) or await self._store.recall(queue.count) > 0
        except StoreFailed:
            return True

    async def stop(self, uid: str) -> None:
        """End the worker of a model, if it has one, and wait until it is gone."""
        running = self._running.get(uid)
        if running is not None:
            running.cancel()
            await asyncio.wait([running])

    async def tidy(self) -> None:
        """Remove folders that belong to no model, no running worker and no task that builds on them."""
        # The folders first: one that a tuning makes meanwhile is not looked at.
        found = await asyncio.to_thread(_inside, self._folder)
        kept = await self._store.read(models.uids) | await self._store.read(queue.parent_uids)
        kept |= set(self._running)
        await asyncio.to_thread(_remove, [each for each in found if each.name not in kept])

    async def _work(self) -> None:
        while True:
            self._new_task.clear()
            try:
                if await self._work_once():
                    continue
            except StoreFailed as error:
                log.error("the queue waits", extra={"reason": str(error)})  # noqa: TRY400  (no bug to trace)
            except Exception:  # one broken task must not end the queue
                log.exception("the queue broke")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._new_task.wait(), LOOK_EVERY_S)

    async def _work_once(self) -> bool:
        claimed = await self._next()
        if claimed is not None:
            await self._supervise(claimed)
        return claimed is not None

    async def _next(self) -> Claim | None:
        # A write even if there is nothing: so a service that lost its database learns of it.
        return await self._store.about("queue").write(queue.claim, self._now_ms(), LEASE_MS)

    async def _supervise(self, claimed: Claim) -> None:
        uid = claimed.model.uid
        task = asyncio.create_task(self._run(claimed))
        self._running[uid] = task
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        finally:
            del self._running[uid]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StoreFailed):
            raise error
        if error is not None:
            log.error("a tuning was put back", extra={"model": claimed.model.name}, exc_info=error)
            await asyncio.sleep(LOOK_EVERY_S)
        await self.tidy()

    async def _run(self, claimed: Claim) -> None:
        steps: list[SnapshotRow] = []
        name = claimed.model.name
        log.info("tuning", extra={"model": name, "from_step": claimed.completed_steps})
        writer = asyncio.create_task(self._write_down(claimed, steps))
        tuner = asyncio.create_task(self._tune(claimed, steps))
        try:
            await asyncio.wait([writer, tuner], return_when=asyncio.FIRST_COMPLETED)
            error = await _outcome(writer, tuner)
            await self._end(claimed, steps, error)
            code = Code(error[0]).name if error else "OK"
            log.info("tuning ended", extra={"model": name, "code": code})
        except queue.Fenced:
            log.info("tuning was taken away", extra={"model": name})
        except (asyncio.CancelledError, StoreFailed):
            await _finish(writer, tuner)
            await self._give_back(claimed, steps)
            raise
        finally:
            await _finish(writer, tuner)

    async def _tune(self, claimed: Claim, steps: list[SnapshotRow]) -> None:
        row = claimed.model
        parent = self._engine.adapter(self._folder / claimed.parent_uid)
        task = TuningTask(
            row.base_model,
            claimed.examples,
            row.epoch_count,
            row.batch_size,
            row.learning_rate,
            parent=parent if claimed.parent_uid else None,
        )
        best, deaths = claimed.completed_steps, 0
        while True:
            try:
                async with aclosing(self._engine.tune(task, self._folder / row.uid)) as reports:  # type: ignore[type-var]
                    async for step in reports:
                        steps.append(_row(step))
                        if step.step > best:
                            best, deaths = step.step, 0
                            telemetry.count_steps(1)
            except NoRoom as error:
                about = {"model": row.name, "reason": str(error)}
                log.error("a tuning waits for room", extra=about)  # noqa: TRY400  (no bug to trace)
                await asyncio.sleep(LOOK_EVERY_S)
            except WorkerDied as error:
                deaths += 1
                log.warning("worker died", extra={"model": row.name, "reason": str(error)})
                if deaths >= DEATHS_WITHOUT_PROGRESS:
                    raise EngineError(_stuck(best, error)) from error
            else:
                return

    async def _write_down(self, claimed: Claim, steps: list[SnapshotRow]) -> None:
        renewed_ms = self._now_ms()
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            now_ms = self._now_ms()
            if steps or now_ms - renewed_ms >= RENEW_MS:
                batch, renewed_ms = tuple(steps), now_ms
                await self._insist(queue.record, claimed, batch, now_ms + LEASE_MS)
                del steps[: len(batch)]  # not before: steps told twice are kept once

    async def _end(
        self, claimed: Claim, steps: list[SnapshotRow], error: tuple[int, str] | None
    ) -> None:
        if error is None:
            await self._insist(queue.succeed, claimed, steps, self._now_ms())
        else:
            await self._insist(queue.fail, claimed, steps, error, self._now_ms())

    async def _insist(self, work: Callable[..., None], claimed: Claim, *args: object) -> None:
        """Write, however long the database is away or full: the tuning goes on meanwhile."""
        while True:
            try:
                return await self._about(claimed).write(work, claimed, *args)
            except StoreTaken:
                raise
            except StoreFailed as error:
                about = {"model": claimed.model.name, "reason": str(error)}
                log.error("a tuning cannot be written down", extra=about)  # noqa: TRY400  (no bug to trace)
                await asyncio.sleep(INSIST_EVERY_S)

    async def _give_back(self, claimed: Claim, steps: list[SnapshotRow]) -> None:
        # Best effort: without it the lease runs out, or the next start takes the task over.
        with contextlib.suppress(queue.Fenced, StoreFailed):
            await self._about(claimed).write(queue.record, claimed, steps, 0)

    def _about(self, claimed: Claim) -> Topic:
        return self._store.about(claimed.model.name)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


async def _outcome(writer: asyncio.Task[None], tuner: asyncio.Task[None]) -> tuple[int, str] | None:
    if writer.done():
        await writer  # raises Fenced or StoreFailed: the tuning is no longer ours
    await _finish(writer)
    try:
        await tuner
    except EngineError as error:
        return (Code.INVALID_ARGUMENT if error.is_request else Code.INTERNAL), str(error)
    except Exception:
        incident = secrets.token_hex(4)
        log.exception("tuning broke", extra={"incident": incident})
        return Code.INTERNAL, f"The tuning broke off; the service's log says why, see {incident}."
    return None


async def _finish(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _stuck(step: int, error: WorkerDied) -> str:
    return (
        f"The tuning worker was killed {DEATHS_WITHOUT_PROGRESS} times after step {step} without getting "
        f"further, the last time so: {error}. Is there enough memory? A smaller batch_size needs less."
    )


def _row(step: Step) -> SnapshotRow:
    return SnapshotRow(step.step, step.epoch, step.mean_loss, int(step.compute_time * 1000))


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _remove(folders: Sequence[Path]) -> None:
    for each in folders:
        shutil.rmtree(each, ignore_errors=True)
