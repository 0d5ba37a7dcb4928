"""How long nobody has asked for anything."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LOOK_EVERY_S = 1.0


class Activity:
    """Counts calls as they come and go; ``clock`` only has to go forward, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls = 0
        self._last = clock()

    def note(self, change: int) -> None:
        """A call began (+1) or ended (-1)."""
        self._calls += change
        self._last = self._clock()

    def touch(self) -> None:
        """Something else is going on."""
        self._last = self._clock()

    @property
    def idle_s(self) -> float:
        """Seconds since the last sign of life; 0 during a call."""
        return 0.0 if self._calls else self._clock() - self._last


async def until_idle(
    activity: Activity, limit_s: float, is_busy: Callable[[], Awaitable[bool]]
) -> None:
    """Return after ``limit_s`` seconds without a call and without work."""
    while activity.idle_s < limit_s:
        if await is_busy():
            activity.touch()
        await asyncio.sleep(min(LOOK_EVERY_S, limit_s))
