"""The engine's end of the inference process: start it when needed, ask it, hear its answers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuner.engine import EngineError, messages
from tuner.engine.threads import CALM

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

GRACE_S = 5.0


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
            await _tell(child.process, {"id": number, "do": do, **request})
            while not last:
                answer = await answers.get()
                last = answer["last"]
                if "error" in answer:
                    raise EngineError(answer["error"], is_request=answer["is_request"])
                yield answer
        finally:
            del child.answers[number]
            if not last:
                await _tell(child.process, {"id": number, "do": "cancel"})

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
            await asyncio.wait_for(asyncio.shield(child.hearing), GRACE_S)
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
                env={**os.environ, **CALM},
                limit=messages.LONGEST,
                start_new_session=True,
            )
        child = Child(process)
        child.hearing = asyncio.create_task(self._hear(child))
        await _tell(process, self.setup)
        return child

    async def _hear(self, child: Child) -> None:
        async for answer in messages.lines(child.process):
            if answer["id"] in child.answers:
                child.answers[answer["id"]].put_nowait(answer)
        child.gone = True
        how = messages.ending(await child.process.wait())
        reason = f"the inference process ended with {how}; see {self.log}, then ask again"
        for answers in child.answers.values():
            answers.put_nowait({"error": reason, "is_request": False, "last": True})


async def _tell(process: Process, message: Mapping[str, Any]) -> None:
    """Send a message; that the process is gone is heard at its other end."""
    if process.stdin is None or process.stdin.is_closing():
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(messages.line(message))
        await process.stdin.drain()
