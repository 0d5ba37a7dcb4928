"""The parts of a running service that handlers use, and the calls in flight."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner.server.api_errors import ApiError, Code, Violation
from tuner.server.settings import Limits
from tuner.server.store import permissions
from tuner.server.store.database import StoreFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tuner.engine import Engine
    from tuner.server.access import Caller
    from tuner.server.scheduler import TuningScheduler
    from tuner.server.store.database import Store

DATABASE_TIMEOUT_S = 5.0
IDLE_CHECK_S = 1.0
CANCEL_TIMEOUT_S = 1.0


class CallTracker:
    """Tracks every call, for the limit per key, idle exit and shutdown.

    A service that stops drains first: calls in flight go on, new ones are refused. After the grace
    period those still in flight are cancelled, with an error that the service is stopping.

    Attributes:
        draining: Set when the service begins to stop; never cleared.
        is_over: Whether a call that is cancelled now is so because the service ends.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.draining = asyncio.Event()
        self.is_over = False
        self._clock = clock
        self._calls: dict[object, asyncio.Task[object] | None] = {}
        self._by_key: Counter[str] = Counter()
        self._last_active_s = clock()
        self._none_left = asyncio.Event()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Track the current task as a call until the end of the block."""
        token = object()
        self._calls[token] = asyncio.current_task()
        try:
            yield
        finally:
            del self._calls[token]
            self._last_active_s = self._clock()
            if not self._calls:
                self._none_left.set()

    @contextmanager
    def limited(self, caller: Caller, max_calls: int) -> Iterator[None]:
        """Count a call of the caller's key until the end of the block. Raises ApiError."""
        if self._by_key[caller.key_id] >= max_calls:
            what = f"{max_calls} calls are in flight, and that is the limit"
            fix = "wait for some of them, or start the service with a higher --max-in-flight"
            raise _exhausted(caller, what, fix, "TOO_MANY_CALLS", retry_after_s=1.0)
        self._by_key[caller.key_id] += 1
        try:
            yield
        finally:
            self._by_key[caller.key_id] -= 1
            if not self._by_key[caller.key_id]:
                del self._by_key[caller.key_id]

    @property
    def in_flight(self) -> int:
        """The number of calls in progress."""
        return len(self._calls)

    @property
    def idle_s(self) -> float:
        """Seconds since the last call or task; 0 during a call."""
        return 0.0 if self._calls else self._clock() - self._last_active_s

    async def until_idle(self, limit_s: float, is_busy: Callable[[], Awaitable[bool]]) -> None:
        """Return after ``limit_s`` seconds without a call and without other work."""
        while self.idle_s < limit_s:
            if await is_busy():
                self._last_active_s = self._clock()
            await asyncio.sleep(min(IDLE_CHECK_S, limit_s))

    async def drain(self, grace_s: float) -> None:
        """Refuse new calls and return when those in flight ended, or were cancelled."""
        self.draining.set()
        if not await self._ended(grace_s):
            self.is_over = True
            for call in self._calls.values():
                if call is not None:
                    call.cancel()
            await self._ended(CANCEL_TIMEOUT_S)

    async def _ended(self, timeout_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._calls:
                    self._none_left.clear()
                    await self._none_left.wait()
        return not self._calls


@dataclass(frozen=True, slots=True)
class Service:
    """One running service.

    Attributes:
        folder: Has one folder per tuned model, named by its uid.
        requires_key: Whether callers without a key are refused before the first key is created.
        clock: Seconds since 1970.
    """

    store: Store
    engine: Engine
    scheduler: TuningScheduler
    folder: Path
    limits: Limits = field(default_factory=Limits)
    requires_key: bool = False
    calls: CallTracker = field(default_factory=CallTracker)
    clock: Callable[[], float] = time.time

    @property
    def now_ms(self) -> int:
        """Milliseconds since 1970: google-generativeai cannot read finer timestamps."""
        return int(self.clock() * 1000)

    def adapter(self, uid: str) -> Path:
        """Return the path of a tuned model's finished weights."""
        return self.engine.adapter(self.folder / uid)

    async def health_problem(self) -> str:
        """Return why the service should not get calls now; empty if it should."""
        if self.calls.draining.is_set():
            return "the service is stopping"
        try:
            await asyncio.wait_for(self.store.read(permissions.count_keys), DATABASE_TIMEOUT_S)
        except TimeoutError:
            return f"the database does not answer within {DATABASE_TIMEOUT_S:.0f} s"
        except StoreFailed:
            return "the database cannot be used; see the log"
        return ""


def queue_full(caller: Caller, max_queued: int) -> ApiError:
    """Return the error for one more queued tuning than a key may have."""
    what = f"{max_queued} tunings wait or run, and that is the limit"
    fix = "wait until one ends, or start the service with a higher --max-queued"
    return _exhausted(caller, what, fix, "QUEUE_FULL", retry_after_s=60.0)


def too_large(size: int | None, limits: Limits) -> ApiError:
    """Return the error for a request of ``size`` bytes, None if it was not read to its end."""
    what = f"the request has {size} bytes, and" if size else "the request is too large:"
    what = f"{what} {limits.message_bytes} bytes are the limit"
    fix = "send fewer examples, or start the service with a higher --max-message-mb"
    return _exhausted(None, what, fix, "TOO_LARGE", retry_after_s=60.0)


def _exhausted(
    caller: Caller | None, what: str, fix: str, reason: str, retry_after_s: float
) -> ApiError:
    subject = f"key:{caller.key_id}" if caller and caller.key_id else "service"
    return ApiError(
        Code.RESOURCE_EXHAUSTED,
        f"{what[0].upper()}{what[1:]}: {fix}.",
        reason,
        quota=[Violation(subject, what)],
        retry_after_s=retry_after_s,
    )
