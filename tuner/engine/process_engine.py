"""An engine that runs one worker process per tuning and one process for all inference."""

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
    task_folder,
)

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

    from tuner.engine import BaseModel, Piece, Prompt, TuningTask

WORKER_GRACE_S = 10.0  # to finish a training step and save its checkpoint
INFERENCE_GRACE_S = 5.0
LOG_TAIL_CHARS = 300


class ProcessEngine:
    """Tunes and runs models in child processes; this process never loads torch.

    Use it within one event loop. Processes are started when they are first needed.
    """

    def __init__(
        self,
        base_models: Mapping[str, BaseModel],
        models_folder: Path,
        *,
        checkpoint_s: float = CHECKPOINT_S,
    ) -> None:
        self._base_models = dict(base_models)
        self.models_folder = models_folder
        self.checkpoint_s = checkpoint_s
        self.workers: set[Process] = set()
        fields = [asdict(model) for model in base_models.values()]
        setup = {"models": fields, "models_folder": models_folder}
        self.inference = InferenceProcess(setup, models_folder / "inference.log")

    @property
    def base_models(self) -> Mapping[str, BaseModel]:
        """The base models, by name."""
        return self._base_models

    async def tune(self, task: TuningTask, folder: Path) -> AsyncGenerator[Step, None]:
        """Tune, or resume from the last checkpoint in ``folder``; see Engine."""
        model = self._base_models.get(task.base_model)
        if model is None or "createTunedModel" not in model.methods:
            able = (m.name for m in self._base_models.values() if "createTunedModel" in m.methods)
            raise EngineError(
                f"{task.base_model} cannot be tuned here; use one of: {', '.join(able)}",
                is_request=True,
            )
        with task_folder.needs_space(folder):
            task_folder.write_task(folder, task, model, self.models_folder)
        if self.adapter(folder).exists():
            for step in task_folder.steps(folder):
                yield step
            return
        async with aclosing(run_worker(folder, self.checkpoint_s, self.workers)) as steps:
            async for step in steps:
                yield step

    def adapter(self, folder: Path) -> Path:
        """Return the path of the finished adapter, a folder in PEFT's format."""
        return folder / task_folder.ADAPTER

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Answer a prompt, piece by piece; see Engine."""
        async with aclosing(self.inference.request("generate", prompt=asdict(prompt))) as answers:
            async for answer in answers:
                yield child_process.piece_from(answer)

    async def count_tokens(self, prompt: Prompt) -> int:
        """Count the tokens of a prompt, chat template included."""
        answer = await self.inference.request_once("count", prompt=asdict(prompt))
        count: int = answer["tokens"]
        return count

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """Return one unit-length vector per text."""
        answer = await self.inference.request_once("embed", model=model, texts=list(texts))
        vectors: list[list[float]] = answer["vectors"]
        return vectors

    async def close(self) -> None:
        """Stop all processes; running tunings save a checkpoint first."""
        await asyncio.gather(*map(stop_worker, list(self.workers)))
        await self.inference.close()


async def run_worker(
    folder: Path, checkpoint_s: float, running: set[Process]
) -> AsyncGenerator[Step, None]:
    """Run a worker on a task folder and yield its training steps until the adapter is complete.

    Closing the iterator lets the worker finish its step, save a checkpoint and exit. While the process
    runs it is in ``running``.

    Raises:
        WorkerDied: The process was killed or crashed; run it again to resume from its checkpoint.
        NoRoom: The disk is full; run it again when there is space.
        EngineError: The task failed.
    """
    process = await _start_worker(folder, checkpoint_s)
    grace_s = 0.0  # before the first step there is nothing to save
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
        raise WorkerDied(f"the tuning worker ended with {how}{_last_log_line(folder)}")
    finally:
        running.discard(process)
        await stop_worker(process, grace_s)


async def stop_worker(process: Process, grace_s: float = WORKER_GRACE_S) -> None:
    """Ask a worker to save its checkpoint and exit; kill it after ``grace_s`` seconds."""
    if process.stdin:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            await process.wait()
    if process.returncode is None:
        process.kill()
    await process.wait()


async def _start_worker(folder: Path, checkpoint_s: float) -> Process:
    arguments = (str(folder), str(checkpoint_s))
    return await _start("tuner.engine.worker", arguments, folder / task_folder.LOG)


async def _start(module: str, arguments: Sequence[str], log_file: Path) -> Process:
    """Start a Python module of ours with pipes for messages; its errors are appended to a log."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, **child_process.OPENMP_PASSIVE_ENV},
            limit=child_process.MAX_LINE_BYTES,
            start_new_session=True,
        )


def _last_log_line(folder: Path) -> str:
    text = (folder / task_folder.LOG).read_text("utf-8", "replace").strip()
    last = text.rpartition("\n")[2][-LOG_TAIL_CHARS:]
    return f" ({last})" if last else ""


@dataclass(slots=True)
class _Child:
    """A running inference process and the queues of its open requests."""

    process: Process
    answers: dict[int, asyncio.Queue[dict[str, Any]]] = field(default_factory=dict)
    is_gone: bool = False
    reader: asyncio.Task[None] | None = None


class InferenceProcess:
    """The inference process, started with the first request and again after it died."""

    def __init__(self, setup: Mapping[str, Any], log_file: Path) -> None:
        """``setup`` is the first message to every new process."""
        self.setup = setup
        self.log_file = log_file
        self.numbers = itertools.count(1)
        self.starting = asyncio.Lock()
        self.child: _Child | None = None

    async def request(self, do: str, **fields: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Send a request and yield its answers; closing the iterator cancels it.

        Raises:
            EngineError: The process rejected the request, or died.
        """
        child = await self._running()
        number = next(self.numbers)
        answers = child.answers[number] = asyncio.Queue()
        last = False
        try:
            await _send(child.process, {"id": number, "do": do, **fields})
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

    async def request_once(self, do: str, **fields: Any) -> dict[str, Any]:
        """Send a request that has exactly one answer and return it."""
        async with aclosing(self.request(do, **fields)) as answers:
            return await anext(answers)

    async def close(self) -> None:
        """Stop the process; it has nothing to save."""
        child, self.child = self.child, None
        if child is None or child.reader is None:
            return
        if child.process.stdin:
            child.process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(child.reader), INFERENCE_GRACE_S)
        if not child.is_gone:
            child.process.kill()
            await child.reader

    async def _running(self) -> _Child:
        async with self.starting:
            if self.child is None or self.child.is_gone:
                child = _Child(await _start("tuner.engine.inference", (), self.log_file))
                child.reader = asyncio.create_task(self._read(child))
                await _send(child.process, self.setup)
                self.child = child
            return self.child

    async def _read(self, child: _Child) -> None:
        async for answer in child_process.read_messages(child.process):
            if answer["id"] in child.answers:
                child.answers[answer["id"]].put_nowait(answer)
        child.is_gone = True
        how = child_process.describe_exit(await child.process.wait())
        reason = f"the inference process ended with {how}; see {self.log_file}, then try again"
        for answers in child.answers.values():
            answers.put_nowait({"error": reason, "is_request": False, "last": True})


async def _send(process: Process, message: Mapping[str, Any]) -> None:
    """Send a message; if the process is gone, its reader reports that."""
    if process.stdin is None or process.stdin.is_closing():
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(child_process.encode(message))
        await process.stdin.drain()
