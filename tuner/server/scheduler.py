"""The tuning queue at work: claims a task, runs the engine, and writes its steps to the database."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import time
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from tuner.engine import EngineError, NoRoom, TuningTask, WorkerDied
from tuner.server import telemetry
from tuner.server.api_errors import Code
from tuner.server.store import models, queue
from tuner.server.store.database import StoreFailed, StoreInUse
from tuner.server.store.models import SnapshotRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tuner.engine import Engine
    from tuner.server.store.database import Store
    from tuner.server.store.queue import Claim

LEASE_MS = 60_000
RENEW_MS = 20_000
WRITE_INTERVAL_S = 0.25
WRITE_RETRY_S = 1.0
POLL_S = 5.0
MAX_DEATHS_WITHOUT_PROGRESS = 3

log = logging.getLogger(__name__)


class TuningScheduler:
    """Runs queued tunings, ``workers`` at a time.

    The database is the source of truth: a service that starts again continues every task from its
    last checkpoint.
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
        """Requeue the tasks of an earlier service, which has ended: this one holds its lock."""
        await self._store.write(queue.release_all)
        await self.remove_unused_folders()

    async def run(self) -> None:
        """Run tasks until cancelled; running tasks then return to the queue."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    def wake(self) -> None:
        """Report that the queue has a new task."""
        self._new_task.set()

    async def is_busy(self) -> bool:
        """Return whether a task waits or runs, or may do so because the database fails."""
        try:
            return bool(self._running) or await self._store.read_cached(queue.count) > 0
        except StoreFailed:
            return True

    async def stop(self, uid: str) -> None:
        """Stop the worker of a model, if there is one, and wait for its end."""
        running = self._running.get(uid)
        if running is not None:
            running.cancel()
            await asyncio.wait([running])

    async def remove_unused_folders(self) -> None:
        """Remove folders that no model, running worker or task that builds on them needs."""

        def list_folders() -> list[Path]:
            return list(self._folder.iterdir()) if self._folder.is_dir() else []

        def remove(folders: Sequence[Path]) -> None:
            for each in folders:
                shutil.rmtree(each, ignore_errors=True)

        # List the folders first, so that one that a new tuning makes meanwhile is kept.
        folders = await asyncio.to_thread(list_folders)
        used = await self._store.read(models.list_uids) | await self._store.read(
            queue.list_parent_uids
        )
        used |= set(self._running)
        await asyncio.to_thread(remove, [each for each in folders if each.name not in used])

    async def _work(self) -> None:
        while True:
            self._new_task.clear()
            try:
                # A write even if the queue is empty: a service that lost its database must notice.
                claim = await self._store.write(
                    queue.claim, self._now_ms(), LEASE_MS, topic="queue"
                )
                if claim is not None:
                    await self._supervise(claim)
                    continue
            except StoreFailed as error:
                log.error("the queue waits", extra={"reason": str(error)})  # noqa: TRY400  (no bug)
            except Exception:  # one broken task must not end the queue
                log.exception("the queue broke")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._new_task.wait(), POLL_S)

    async def _supervise(self, claim: Claim) -> None:
        uid = claim.model.uid
        task = asyncio.create_task(self._run(claim))
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
            log.error("a tuning was requeued", extra={"model": claim.model.name}, exc_info=error)
            await asyncio.sleep(POLL_S)
        await self.remove_unused_folders()

    async def _run(self, claim: Claim) -> None:
        steps: list[SnapshotRow] = []
        name = claim.model.name
        log.info("tuning", extra={"model": name, "from_step": claim.completed_steps})
        writer = asyncio.create_task(self._write_steps(claim, steps))
        tuning = asyncio.create_task(self._tune(claim, steps))
        try:
            await asyncio.wait([writer, tuning], return_when=asyncio.FIRST_COMPLETED)
            error = await _outcome(writer, tuning)
            if error is None:
                await self._write(claim, queue.succeed, steps, self._now_ms())
            else:
                await self._write(claim, queue.fail, steps, error, self._now_ms())
            code = Code(error[0]).name if error else "OK"
            log.info("tuning ended", extra={"model": name, "code": code})
        except queue.ClaimLost:
            log.info("tuning was taken away", extra={"model": name})
        except (asyncio.CancelledError, StoreFailed):
            await _cancel(writer, tuning)
            with suppress(queue.ClaimLost, StoreFailed):  # otherwise the lease ends by itself
                await self._store.write(queue.record, claim, steps, 0, topic=name)
            raise
        finally:
            await _cancel(writer, tuning)

    async def _tune(self, claim: Claim, steps: list[SnapshotRow]) -> None:
        row = claim.model
        parent = self._engine.adapter(self._folder / claim.parent_uid)
        task = TuningTask(
            row.base_model,
            claim.examples,
            row.epoch_count,
            row.batch_size,
            row.learning_rate,
            parent=parent if claim.parent_uid else None,
        )
        last_step, deaths = claim.completed_steps, 0
        while True:
            try:
                async with aclosing(self._engine.tune(task, self._folder / row.uid)) as reports:  # type: ignore[type-var]
                    async for step in reports:
                        compute_ms = int(step.compute_time * 1000)
                        steps.append(SnapshotRow(step.step, step.epoch, step.mean_loss, compute_ms))
                        if step.step > last_step:
                            last_step, deaths = step.step, 0
                            telemetry.count_steps(1)
            except NoRoom as error:
                extra = {"model": row.name, "reason": str(error)}
                log.error("a tuning waits for disk space", extra=extra)  # noqa: TRY400  (no bug)
                await asyncio.sleep(POLL_S)
            except WorkerDied as error:
                deaths += 1
                log.warning("worker died", extra={"model": row.name, "reason": str(error)})
                if deaths >= MAX_DEATHS_WITHOUT_PROGRESS:
                    what = (
                        f"The tuning worker was killed {deaths} times after step {last_step} without"
                        f" progress, the last time: {error}. Is there enough memory? A smaller"
                        " batch_size needs less."
                    )
                    raise EngineError(what) from error
            else:
                return

    async def _write_steps(self, claim: Claim, steps: list[SnapshotRow]) -> None:
        renewed_ms = self._now_ms()
        while True:
            await asyncio.sleep(WRITE_INTERVAL_S)
            now_ms = self._now_ms()
            if steps or now_ms - renewed_ms >= RENEW_MS:
                batch, renewed_ms = tuple(steps), now_ms
                await self._write(claim, queue.record, batch, now_ms + LEASE_MS)
                del steps[: len(batch)]  # only now: a step written twice is stored once

    async def _write(self, claim: Claim, change: Callable[..., None], *args: object) -> None:
        """Write, and retry while the database is down or full: the tuning continues meanwhile."""
        while True:
            try:
                return await self._store.write(change, claim, *args, topic=claim.model.name)
            except StoreInUse:
                raise
            except StoreFailed as error:
                extra = {"model": claim.model.name, "reason": str(error)}
                log.error("cannot write a tuning's state", extra=extra)  # noqa: TRY400  (no bug)
                await asyncio.sleep(WRITE_RETRY_S)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


async def _outcome(
    writer: asyncio.Task[None], tuning: asyncio.Task[None]
) -> tuple[int, str] | None:
    """Return code and message of a failed tuning, None after success."""
    if writer.done():
        await writer  # raises ClaimLost or StoreFailed: the tuning is no longer ours
    await _cancel(writer)
    try:
        await tuning
    except EngineError as error:
        return (Code.INVALID_ARGUMENT if error.is_request else Code.INTERNAL), str(error)
    except Exception:
        incident = secrets.token_hex(4)
        log.exception("tuning broke", extra={"incident": incident})
        return Code.INTERNAL, f"The tuning failed by a bug; see incident {incident} in the log."
    return None


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
