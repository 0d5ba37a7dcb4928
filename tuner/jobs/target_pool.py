"""The targets of one run: each opened once, with what all jobs there share."""

from __future__ import annotations

import asyncio
import heapq
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Self

from tuner.jobs.poller import POLL_S, QUICKEST_S, Poller
from tuner.targets import open_target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence

    from tuner.jobs.runner import Timing
    from tuner.targets import Target
    from tuner.types import (
        Answer,
        Feature,
        GenerationConfig,
        Grant,
        Model,
        NewTunedModel,
        Operation,
        Permission,
        Role,
        TargetConfig,
        TunedModel,
    )


class Connections:
    """Open targets by their configuration; closes them all in the end."""

    def __init__(self) -> None:
        """Nothing is opened before it is asked for."""
        self._stack = AsyncExitStack()
        self._open: dict[TargetConfig, Target] = {}
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what was opened."""
        await self._stack.aclose()

    async def get(self, config: TargetConfig, gone: Target | None = None) -> Target:
        """The target, opened when it is not yet, or when the open one is ``gone``.

        Opening ``local`` starts its service when none runs, so that a service that died comes back.
        Many jobs may find the same one gone; the first of them opens it for all.

        Raises:
            NotAllowed, Unavailable: As ``open_target``.
        """
        async with self._lock:
            target = self._open.get(config)
            if target is None or target is gone:
                target = await self._stack.enter_async_context(open_target(config))
                self._open[config] = target
            return target


@dataclass(frozen=True, slots=True)
class OpenTarget:
    """An open target; ``raw`` as it was opened."""

    raw: Target
    rate: RateLimit
    follower: Poller
    now: Callable[[], float]

    def guarded(self, allow: Callable[[], None] | None = None) -> ThrottledTarget:
        """The target for one job: ``allow`` raises what forbids a change."""
        if allow is None:
            return ThrottledTarget(self.raw, self.rate)
        return ThrottledTarget(self.raw, self.rate, allow, self.follower, self.now)


class TargetPool:
    """Opens each target once, and anew when the service behind it was gone."""

    def __init__(self, pace: Timing, speaks_for: Callable[[str, str], None]) -> None:
        """``speaks_for`` hears whose credentials are used where, by ``TargetConfig.where``."""
        self._pace, self._speaks_for = pace, speaks_for
        self._connections = Connections()
        self._places: dict[TargetConfig, OpenTarget] = {}
        self._rates: dict[TargetConfig, RateLimit] = {}
        self._slots: dict[str, Slots] = {}
        # those of targets that are gone too: who waits there still is to hear of that
        self._followers: list[Poller] = []

    async def to(self, config: TargetConfig, gone: OpenTarget | None = None) -> OpenTarget:
        """The target, opened when it is not yet, or when the open one is ``gone``.

        Raises:
            NotAllowed, Unavailable: As ``open_target``.
        """
        raw = await self._connections.get(config, gone=gone.raw if gone else None)
        place = self._places.get(config)
        if place is None or place.raw is not raw:
            self._speaks_for(config.where, raw.caller)
            self._places[config] = place = self._place(raw, config)
        return place

    def slots(self, config: TargetConfig) -> Slots:
        """For tunings there at a time."""
        return self._slots.setdefault(config.where, Slots(config.max_jobs))

    async def close(self) -> None:
        """Close what was opened."""
        for follower in self._followers:
            await follower.close()
        await self._connections.__aexit__()

    def _place(self, raw: Target, config: TargetConfig) -> OpenTarget:
        pace = self._pace
        rate = self._rates.setdefault(
            config, RateLimit(config.requests_per_second, pace.now, pace.sleep)
        )
        pace = replace(pace, poll_s=POLL_S[config.kind])
        follower = Poller(ThrottledTarget(raw, rate), pace, QUICKEST_S[config.kind])
        self._followers.append(follower)
        return OpenTarget(raw, rate, follower, pace.now)


FRESH_S = 1.0


class ThrottledTarget:
    """All of ``Target``; each call waits for its turn, and a changing one is allowed first.

    ``allow`` raises what forbids a change, such as Superseded; nothing awaits between it and the
    call. With a ``follower`` an operation is looked at together with those of all other jobs. With
    ``now`` who has access is not asked again within ``FRESH_S`` seconds, unless the job changed it.
    """

    def __init__(
        self,
        target: Target,
        rate: RateLimit,
        allow: Callable[[], None] = lambda: None,
        follower: Poller | None = None,
        now: Callable[[], float] | None = None,
    ) -> None:
        """Guard ``target``; closing it is left to whoever opened it."""
        self._target, self._rate, self._allow, self._follower = target, rate, allow, follower
        self._now = now
        self._listed: tuple[str, float, Sequence[Permission]] = ("", 0.0, ())

    async def _change(self) -> Target:
        await self._rate()
        self._allow()
        self._listed = ("", 0.0, ())
        return self._target

    async def _read(self) -> Target:
        await self._rate()
        return self._target

    @property
    def address(self) -> str:
        """As the target's."""
        return self._target.address

    @property
    def caller(self) -> str:
        """As the target's."""
        return self._target.caller

    @property
    def lacks(self) -> Mapping[Feature, str]:
        """As the target's."""
        return self._target.lacks

    async def models(self) -> Sequence[Model]:
        """As the target's."""
        return await (await self._read()).models()

    async def model(self, name: str) -> Model:
        """As the target's."""
        return await (await self._read()).model(name)

    async def create(self, new: NewTunedModel) -> Operation:
        """As the target's."""
        operation = await (await self._change()).create(new)
        if self._follower:
            self._follower.saw(operation)
        return operation

    async def tuned_models(self, query: str = "") -> Sequence[TunedModel]:
        """As the target's."""
        return await (await self._read()).tuned_models(query)

    async def tuned_model(self, name: str) -> TunedModel:
        """As the target's."""
        return await (await self._read()).tuned_model(name)

    async def update(self, name: str, changes: dict[str, str | float | int]) -> TunedModel:
        """As the target's."""
        return await (await self._change()).update(name, changes)

    async def delete(self, name: str) -> None:
        """As the target's."""
        await (await self._change()).delete(name)

    async def operation(self, name: str) -> Operation:
        """As the target's, or what the follower saw last, which asks at its own time."""
        if self._follower:
            return await self._follower.operation(name)
        return await (await self._read()).operation(name)

    async def operations(self, tuned_model: str) -> Sequence[Operation]:
        """As the target's."""
        return await (await self._read()).operations(tuned_model)

    async def followed(self, names: Collection[str]) -> Mapping[str, Operation]:
        """As the target's."""
        return await (await self._read()).followed(names)

    async def cancel(self, operation: str) -> None:
        """As the target's."""
        await (await self._change()).cancel(operation)

    async def permissions(self, tuned_model: str) -> Sequence[Permission]:
        """As the target's, or as it was a moment ago."""
        model, seen_at, listed = self._listed
        if self._now is None or model != tuned_model or self._now() - seen_at > FRESH_S:
            listed = await (await self._read()).permissions(tuned_model)
            self._listed = (tuned_model, self._now() if self._now else 0.0, listed)
        return listed

    async def grant(self, tuned_model: str, grant: Grant) -> Permission:
        """As the target's."""
        return await (await self._change()).grant(tuned_model, grant)

    async def change_role(self, permission: str, role: Role) -> Permission:
        """As the target's."""
        return await (await self._change()).change_role(permission, role)

    async def revoke(self, permission: str) -> None:
        """As the target's."""
        await (await self._change()).revoke(permission)

    async def transfer(self, tuned_model: str, email_address: str) -> None:
        """As the target's."""
        await (await self._change()).transfer(tuned_model, email_address)

    async def generate(self, model: str, prompt: str, config: GenerationConfig) -> Answer:
        """As the target's."""
        return await (await self._read()).generate(model, prompt, config)

    async def stream(
        self, model: str, prompt: str, config: GenerationConfig
    ) -> AsyncIterator[Answer]:
        """As the target's."""
        async for answer in (await self._read()).stream(model, prompt, config):
            yield answer

    async def count_tokens(self, model: str, text: str) -> int:
        """As the target's."""
        return await (await self._read()).count_tokens(model, text)

    async def close(self) -> None:
        """Nothing: the session closes what it opened."""


BURST_S = 1.0


class RateLimit:
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
