"""How much one run asks of a target: calls a second, and things at a time."""

from __future__ import annotations

import asyncio
import heapq
import time
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

BURST_S = 1.0


class Rate:
    """Calls a second, first come, first served; what one second allows may go at once.

    Awaited before every call. 0 is no limit.
    """

    def __init__(
        self,
        per_second: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``now`` counts seconds and never goes back."""
        self._between_s = 1 / per_second if per_second else 0.0
        self._burst_s = max(BURST_S, self._between_s)
        self._now, self._sleep = now, sleep
        self._paid_until = now()

    async def __call__(self) -> None:
        """Come back when it is this call's turn."""
        if not self._between_s:
            return
        now = self._now()
        self._paid_until = max(self._paid_until, now) + self._between_s
        wait_s = self._paid_until - self._burst_s - now
        if wait_s > 0:
            await self._sleep(wait_s)


class Slots:
    """So many at a time, the lowest ``order`` first, then who came first; 0 is no limit."""

    def __init__(self, most: int) -> None:
        """All are free."""
        self._is_limited, self._free = most > 0, most
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    @asynccontextmanager
    async def one(self, order: int = 0) -> AsyncIterator[None]:
        """Wait for a free one, and keep it for the length of the block."""
        if not self._is_limited:
            yield
            return
        await self._take(order)
        try:
            yield
        finally:
            self._free += 1
            self._hand_out()

    async def _take(self, order: int) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        heapq.heappush(self._waiting, (order, next(self._arrivals), turn))
        loop.call_soon(self._hand_out)  # those who come at the same moment are sorted first
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was our turn in that very moment
                self._free += 1
                self._hand_out()
            raise

    def _hand_out(self) -> None:
        while self._free and self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
