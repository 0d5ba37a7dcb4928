"""A loop in which several lives of a runner go on side by side, and one of them may stop, or end.

What runs in the context of a life is held back while it is stopped, as by SIGSTOP, and never runs
again once it is dead, as by SIGKILL: no cleaning up, no last word.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

from tests.fakes.clock import TimelessLoop
from tests.fakes.target import Crash

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Mortal:
    """A life; ``current`` is the one that runs."""

    def __init__(self) -> None:
        self.is_dead = False
        self.is_stopped = False
        self.held: list[asyncio.Handle] = []
        self.over = asyncio.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let it live."""
        context = copy_context()
        context.run(current.set, self)
        loop = asyncio.get_running_loop()
        task = loop.create_task(work, context=context)
        task.add_done_callback(self._ended, context=copy_context())

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.error = asyncio.CancelledError()
        elif task.exception() is not None:
            self.error = task.exception()
        else:
            self.result = task.result()
        self.over.set()

    def die(self) -> None:
        """Here and now; raises Crash, which nobody gets to see."""
        self.is_dead = True
        outside = copy_context()
        outside.run(current.set, None)
        asyncio.get_running_loop().call_soon(self.over.set, context=outside)
        raise Crash

    def stop(self, seconds: float) -> None:
        """Nothing of it runs for so long, while time goes on."""
        self.is_stopped = True
        outside = copy_context()
        outside.run(current.set, None)
        asyncio.get_running_loop().call_later(seconds, self._go_on, context=outside)

    def _go_on(self) -> None:
        self.is_stopped = False
        held, self.held = self.held, []
        loop = asyncio.get_running_loop()
        for each in held:
            if not each.cancelled():
                loop.call_soon(each._callback, *each._args, context=each._context)


current: ContextVar[Mortal | None] = ContextVar("current", default=None)


class MortalLoop(TimelessLoop):
    """Runs what belongs to the living."""

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        context = context or copy_context()
        life = context.get(current)
        if life is None or not (life.is_dead or life.is_stopped):
            return super().call_soon(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        life.held.append(handle)
        return handle
