"""The calls in flight, through whichever door: how long there was none, and how they end."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

LOOK_EVERY_S = 1.0
LAST_WORDS_S = 1.0  # for calls that are told to end


class Activity:
    """Knows every call from its first moment to its last.

    A service that stops drains first: calls in flight go on, new ones are refused. When its time
    is over, those still in flight are cancelled, and tell their callers that the service is gone.

    Attributes:
        draining: Set when the service begins to stop; never cleared.
        is_over: Whether calls that are cancelled now are so because the service ends.

    Args:
        clock: Only has to go forward, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.draining = asyncio.Event()
        self.is_over = False
        self._clock = clock
        self._calls: dict[object, asyncio.Task[object] | None] = {}
        self._last = clock()
        self._none = asyncio.Event()

    @contextmanager
    def call(self) -> Iterator[None]:
        """The current task is a call until the end of the block."""
        token = object()
        self._calls[token] = asyncio.current_task()
        try:
            yield
        finally:
            del self._calls[token]
            self._last = self._clock()
            if not self._calls:
                self._none.set()

    def touch(self) -> None:
        """Something else is going on."""
        self._last = self._clock()

    @property
    def in_flight(self) -> int:
        """How many calls there are now."""
        return len(self._calls)

    @property
    def idle_s(self) -> float:
        """Seconds since the last sign of life; 0 during a call."""
        return 0.0 if self._calls else self._clock() - self._last

    async def drain(self, grace_s: float) -> None:
        """Refuse new calls, and return when those in flight have ended: by themselves, or cut off."""
        self.draining.set()
        if not await self._ended(grace_s):
            self.is_over = True
            for call in self._calls.values():
                if call is not None:
                    call.cancel()
            await self._ended(LAST_WORDS_S)

    async def _ended(self, timeout_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._calls:
                    self._none.clear()
                    await self._none.wait()
        return not self._calls


async def until_idle(
    activity: Activity, limit_s: float, is_busy: Callable[[], Awaitable[bool]]
) -> None:
    """Return after ``limit_s`` seconds without a call and without work."""
    while activity.idle_s < limit_s:
        if await is_busy():
            activity.touch()
        await asyncio.sleep(min(LOOK_EVERY_S, limit_s))
