"""The engine's end of a worker process: start it, follow its steps, end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from tuner.engine import EngineError, NoRoom, Step, WorkerDied, messages, task_folder
from tuner.engine.threads import CALM

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator
    from pathlib import Path

GRACE_S = 10.0  # for the step that is being done, and its checkpoint
LOG_TAIL = 300


async def follow(
    folder: Path, checkpoint_s: float, running: set[Process]
) -> AsyncGenerator[Step, None]:
    """Run a worker on a folder that holds a task, and yield its steps until the adapter is whole.

    Closing the iterator lets the worker do its step, save a checkpoint, and end. Meanwhile the process
    is in ``running``, for whoever has to end it.

    Raises:
        WorkerDied: It was killed, or crashed; run it again to go on from its checkpoint.
        NoRoom: The disk is full; run it again once it is not.
        EngineError: It gave up, with the reason.
    """
    process = await _start(folder, checkpoint_s)
    grace_s = 0.0  # before its first step a worker has nothing to save
    running.add(process)
    try:
        async for message in messages.lines(process):
            if "error" in message:
                kind = NoRoom if message.get("is_full") else EngineError
                raise kind(message["error"], is_request=message.get("is_request", False))
            if "done" in message:
                return
            grace_s = GRACE_S
            yield Step(**message)
        how = messages.ending(await process.wait())
        raise WorkerDied(f"the tuning worker ended with {how}{_last_words(folder)}")
    finally:
        running.discard(process)
        await end(process, grace_s)


async def _start(folder: Path, checkpoint_s: float) -> Process:
    with (folder / task_folder.LOG).open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tuner.engine.worker", str(folder), str(checkpoint_s)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, **CALM},
            limit=messages.LONGEST,
            start_new_session=True,
        )


async def end(process: Process, grace_s: float = GRACE_S) -> None:
    """Let a worker save its checkpoint; kill it if that takes longer than ``grace_s`` seconds."""
    if process.stdin:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await process.wait()
    if process.returncode is None:
        process.kill()
    await process.wait()


def _last_words(folder: Path) -> str:
    text = (folder / task_folder.LOG).read_text("utf-8", "replace").strip()
    last = text.rpartition("\n")[2][-LOG_TAIL:]
    return f" ({last})" if last else ""
