"""The engine that works in processes on this machine: one a tuning, and one for all answers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tuner.engine import (
    CHECKPOINT_S,
    EngineError,
    NoRoom,
    Step,
    WorkerDied,
    child_process,
    durable,
    task_folder,
)
from tuner.engine.child_process import OPENMP_PASSIVE_ENV

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

    from tuner.engine import BaseModel, Piece, Prompt, TuningTask


class ProcessEngine:
    """Tunes and runs models in processes of their own; this one never loads torch.

    Use it within one event loop. An engine is cheap to make: processes start when they are needed.
    """

    def __init__(
        self,
        base_models: Mapping[str, BaseModel],
        models_folder: Path,
        *,
        checkpoint_s: float = CHECKPOINT_S,
    ) -> None:
        """Keep what is on offer, by name, and where converted models are."""
        self._base_models = dict(base_models)
        self.models_folder = models_folder
        self.checkpoint_s = checkpoint_s
        self.workers: set[Process] = set()
        setup = child_process.setup_message(self._base_models, models_folder)
        self.inference = InferenceProcess(setup, models_folder / "inference.log")

    @property
    def base_models(self) -> Mapping[str, BaseModel]:
        """What is on offer, by name."""
        return self._base_models

    async def tune(self, task: TuningTask, folder: Path) -> AsyncGenerator[Step, None]:
        """Tune, or go on from the last checkpoint in ``folder``; see Engine."""
        model = self._base_models.get(task.base_model)
        if model is None or "createTunedModel" not in model.methods:
            able = (m.name for m in self._base_models.values() if "createTunedModel" in m.methods)
            raise EngineError(
                f"{task.base_model} cannot be tuned here; use one of: {', '.join(able)}",
                is_request=True,
            )
        with durable.needs_room(folder):
            task_folder.write_task(folder, task, model, self.models_folder)
        if self.adapter(folder).exists():
            for step in task_folder.steps(folder):
                yield step
            return
        async with aclosing(run_worker(folder, self.checkpoint_s, self.workers)) as steps:
            async for step in steps:
                yield step

    def adapter(self, folder: Path) -> Path:
        """Where ``tune`` leaves the finished adapter, a folder in PEFT's format."""
        return folder / task_folder.ADAPTER

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Answer a prompt, piece by piece; see Engine."""
        async with aclosing(self.inference.ask("generate", prompt=asdict(prompt))) as answers:
            async for answer in answers:
                yield child_process.piece_from(answer)

    async def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the prompt as the model would see it, template included."""
        answer = await self.inference.ask_once("count", prompt=asdict(prompt))
        count: int = answer["tokens"]
        return count

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """One unit-length vector a text."""
        answer = await self.inference.ask_once("embed", model=model, texts=list(texts))
        vectors: list[list[float]] = answer["vectors"]
        return vectors

    async def close(self) -> None:
        """End every worker; running tunings keep their checkpoints."""
        await asyncio.gather(*map(stop_worker, list(self.workers)))
        await self.inference.close()


WORKER_GRACE_S = 10.0  # for the step that is being done, and its checkpoint
LOG_TAIL = 300


async def run_worker(
    folder: Path, checkpoint_s: float, running: set[Process]
) -> AsyncGenerator[Step, None]:
    """Run a worker on a folder that holds a task, and yield its steps until the adapter is whole.

    Closing the iterator lets the worker do its step, save a checkpoint, and stop_worker. Meanwhile the process
    is in ``running``, for whoever has to stop_worker it.

    Raises:
        WorkerDied: It was killed, or crashed; run it again to go on from its checkpoint.
        NoRoom: The disk is full; run it again once it is not.
        EngineError: It gave up, with the reason.
    """
    process = await _start_worker(folder, checkpoint_s)
    grace_s = 0.0  # before its first step a worker has nothing to save
    running.add(process)
    try:
        async for message in child_process.read_messages(process):
            if "error" in message:
                kind = NoRoom if message.get("is_full") else EngineError
                raise kind(message["error"], is_request=message.get("is_request", False))
            if "done" in message:
                return
            grace_s = WORKER_GRACE_S
            yield Step(**message)
        how = child_process.describe_exit(await process.wait())
        raise WorkerDied(f"the tuning worker ended with {how}{_last_words(folder)}")
    finally:
        running.discard(process)
        await stop_worker(process, grace_s)


async def _start_worker(folder: Path, checkpoint_s: float) -> Process:
    with (folder / task_folder.LOG).open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tuner.engine.worker", str(folder), str(checkpoint_s)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, **OPENMP_PASSIVE_ENV},
            limit=child_process.MAX_LINE_BYTES,
            start_new_session=True,
        )


async def stop_worker(process: Process, grace_s: float = WORKER_GRACE_S) -> None:
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


INFERENCE_GRACE_S = 5.0


@dataclass(slots=True)
class Child:
    """A process and who waits for its answers; ``gone`` once it can give no more."""

    process: Process
    answers: dict[int, asyncio.Queue[dict[str, Any]]] = field(default_factory=dict)
    gone: bool = False
    hearing: asyncio.Task[None] | None = None


class InferenceProcess:
    """One process at a time; after a death the next request starts another."""

    def __init__(self, setup: Mapping[str, Any], log: Path) -> None:
        """Keep what a process is told first, and the file its complaints go to."""
        self.setup = setup
        self.log = log
        self.numbers = itertools.count(1)
        self.starting = asyncio.Lock()
        self.child: Child | None = None

    async def ask(self, do: str, **request: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Send a request and yield its answers; closing the iterator cancels it.

        Raises:
            EngineError: The process refused the request, or died.
        """
        child = await self._running()
        number = next(self.numbers)
        answers = child.answers[number] = asyncio.Queue()
        last = False
        try:
            await _send(child.process, {"id": number, "do": do, **request})
            while not last:
                answer = await answers.get()
                last = answer["last"]
                if "error" in answer:
                    raise EngineError(answer["error"], is_request=answer["is_request"])
                yield answer
        finally:
            del child.answers[number]
            if not last:
                await _send(child.process, {"id": number, "do": "cancel"})

    async def ask_once(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request that has one answer."""
        async with aclosing(self.ask(do, **request)) as answers:
            return await anext(answers)

    async def close(self) -> None:
        """End the process; it has nothing to save."""
        child, self.child = self.child, None
        if child is None or child.hearing is None:
            return
        if child.process.stdin:
            child.process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(child.hearing), INFERENCE_GRACE_S)
        if not child.gone:
            child.process.kill()
            await child.hearing

    async def _running(self) -> Child:
        async with self.starting:
            if self.child is None or self.child.gone:
                self.child = await self._start()
            return self.child

    async def _start(self) -> Child:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tuner.engine.inference"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **OPENMP_PASSIVE_ENV},
                limit=child_process.MAX_LINE_BYTES,
                start_new_session=True,
            )
        child = Child(process)
        child.hearing = asyncio.create_task(self._hear(child))
        await _send(process, self.setup)
        return child

    async def _hear(self, child: Child) -> None:
        async for answer in child_process.read_messages(child.process):
            if answer["id"] in child.answers:
                child.answers[answer["id"]].put_nowait(answer)
        child.gone = True
        how = child_process.describe_exit(await child.process.wait())
        reason = f"the inference process ended with {how}; see {self.log}, then ask again"
        for answers in child.answers.values():
            answers.put_nowait({"error": reason, "is_request": False, "last": True})


async def _send(process: Process, message: Mapping[str, Any]) -> None:
    """Send a message; that the process is gone is heard at its other end."""
    if process.stdin is None or process.stdin.is_closing():
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(child_process.encode(message))
        await process.stdin.drain()
