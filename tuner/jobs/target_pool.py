"""The targets of one run: each is opened once and shared by its jobs."""

from __future__ import annotations

import asyncio
import heapq
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Self, cast

from tuner.jobs.poller import MIN_POLL_S, POLL_S, Poller
from tuner.targets import open_target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tuner.jobs.runner import Timing
    from tuner.targets import Target
    from tuner.types import (
        Answer,
        GenerationConfig,
        NewTunedModel,
        Operation,
        Permission,
        TargetConfig,
    )


class Connections:
    """Opens each target once, and closes all of them together."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._open: dict[TargetConfig, Target] = {}
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def get(self, config: TargetConfig, gone: Target | None = None) -> Target:
        """Return the open target; open it first if necessary, or again if it is ``gone``.

        Opening ``local`` starts its service if none is running. If many jobs find a target gone, it is
        opened once for all of them.

        Raises:
            NotAllowed, Unavailable: As in ``open_target``.
        """
        async with self._lock:
            target = self._open.get(config)
            if target is None or target is gone:
                target = await self._stack.enter_async_context(open_target(config))
                self._open[config] = target
            return target


@dataclass(frozen=True, slots=True)
class OpenTarget:
    """An open target with its rate limit and poller."""

    raw: Target
    rate: RateLimit
    poller: Poller
    now: Callable[[], float]

    def throttled(self) -> Target:
        """Return the target with its rate limit."""
        return cast("Target", ThrottledTarget(self.raw, self.rate))

    def for_job(self) -> Target:
        """Return the target for one job: operations are polled together with those of other jobs."""
        return cast("Target", ThrottledTarget(self.raw, self.rate, self.poller, self.now))


class TargetPool:
    """Opens each target once, and again when its service has died."""

    def __init__(self, pace: Timing, on_open: Callable[[str, str], None]) -> None:
        """``on_open`` is called with ``TargetConfig.where`` and the caller's identity."""
        self._pace, self._on_open = pace, on_open
        self._connections = Connections()
        self._targets: dict[TargetConfig, OpenTarget] = {}
        self._rates: dict[TargetConfig, RateLimit] = {}
        self._slots: dict[str, Slots] = {}
        self._pollers: list[Poller] = []  # also those of targets that are gone, to wake who waits

    async def get(self, config: TargetConfig, gone: OpenTarget | None = None) -> OpenTarget:
        """Return the open target; open it first if necessary, or again if it is ``gone``.

        Raises:
            NotAllowed, Unavailable: As in ``open_target``.
        """
        raw = await self._connections.get(config, gone=gone.raw if gone else None)
        opened = self._targets.get(config)
        if opened is None or opened.raw is not raw:
            self._on_open(config.where, raw.caller)
            self._targets[config] = opened = self._wrap(raw, config)
        return opened

    def slots(self, config: TargetConfig) -> Slots:
        """Return the slots that limit concurrent tunings on a target."""
        return self._slots.setdefault(config.where, Slots(config.max_jobs))

    async def close(self) -> None:
        """Close all targets."""
        for poller in self._pollers:
            await poller.close()
        await self._connections.__aexit__()

    def _wrap(self, raw: Target, config: TargetConfig) -> OpenTarget:
        pace = self._pace
        rate = self._rates.setdefault(
            config, RateLimit(config.requests_per_second, pace.now, pace.sleep)
        )
        pace = replace(pace, poll_s=POLL_S[config.kind])
        poller = Poller(cast("Target", ThrottledTarget(raw, rate)), pace, MIN_POLL_S[config.kind])
        self._pollers.append(poller)
        return OpenTarget(raw, rate, poller, pace.now)


FRESH_S = 1.0
_CHANGES = {"update", "delete", "cancel", "grant", "change_role", "revoke", "transfer"}


class ThrottledTarget:
    """A target with a rate limit.

    With a ``poller``, an operation is polled together with those of other jobs. With ``now``, permissions
    are cached for ``FRESH_S`` seconds, or until a change.
    """

    def __init__(
        self,
        target: Target,
        rate: RateLimit,
        poller: Poller | None = None,
        now: Callable[[], float] | None = None,
    ) -> None:
        """Wrap ``target``, which its opener closes."""
        self._target, self._rate, self._poller, self._now = target, rate, poller, now
        self._permissions: tuple[str, float, Sequence[Permission]] = ("", 0.0, ())

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        async def call(*args: Any) -> Any:
            await self._rate()
            if name in _CHANGES:
                self._permissions = ("", 0.0, ())
            return await found(*args)

        return call

    async def create(self, new: NewTunedModel) -> Operation:
        """Create a tuned model."""
        await self._rate()
        operation = await self._target.create(new)
        if self._poller:
            self._poller.saw(operation)
        return operation

    async def operation(self, name: str) -> Operation:
        """Return the poller's latest state of the operation, or call the target."""
        if self._poller:
            return await self._poller.operation(name)
        await self._rate()
        return await self._target.operation(name)

    async def permissions(self, tuned_model: str) -> Sequence[Permission]:
        """Return the permissions, cached for a moment."""
        model, seen_at, permissions = self._permissions
        if self._now is None or model != tuned_model or self._now() - seen_at > FRESH_S:
            await self._rate()
            permissions = await self._target.permissions(tuned_model)
            self._permissions = (tuned_model, self._now() if self._now else 0.0, permissions)
        return permissions

    async def stream(
        self, model: str, prompt: str, config: GenerationConfig
    ) -> AsyncIterator[Answer]:
        """Stream an answer."""
        await self._rate()
        async for answer in self._target.stream(model, prompt, config):
            yield answer

    async def close(self) -> None:
        """Do nothing: the pool closes its targets."""


BURST_S = 1.0


class RateLimit:
    """Limits calls per second, in order of arrival, with bursts of one second; 0 is no limit.

    Awaited before every call.
    """

    def __init__(
        self,
        per_second: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``now`` is a monotonic clock in seconds."""
        self._between_s = 1 / per_second if per_second else 0.0
        self._burst_s = max(BURST_S, self._between_s)
        self._now, self._sleep = now, sleep
        self._paid_until = now()

    async def __call__(self) -> None:  # noqa: D102 -- described above
        if not self._between_s:
            return
        now = self._now()
        self._paid_until = max(self._paid_until, now) + self._between_s
        wait_s = self._paid_until - self._burst_s - now
        if wait_s > 0:
            await self._sleep(wait_s)


class Slots:
    """A limited number of slots, given out by lowest ``order``, then by arrival; 0 is no limit."""

    def __init__(self, most: int) -> None:
        self._is_limited, self._free = most > 0, most
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    @asynccontextmanager
    async def one(self, order: int = 0) -> AsyncIterator[None]:
        """Wait for a slot, and hold it inside the block."""
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
        loop.call_soon(self._hand_out)  # tasks that arrive at the same moment are sorted first
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the slot was given to us at the same moment
                self._free += 1
                self._hand_out()
            raise

    def _hand_out(self) -> None:
        while self._free and self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
