"""The targets of one run: each opened once, with what all jobs there share."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from tuner.jobs.running.follower import QUICKEST_S, Follower
from tuner.jobs.running.guarded import Guarded
from tuner.jobs.running.limits import Rate, Slots
from tuner.jobs.running.runner import POLL_S
from tuner.targets import open_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.jobs.running.runner import Pace
    from tuner.targets import Target
    from tuner.types import TargetConfig


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
class Place:
    """An open target; ``raw`` as it was opened."""

    raw: Target
    rate: Rate
    follower: Follower
    now: Callable[[], float]

    def guarded(self, allow: Callable[[], None] | None = None) -> Guarded:
        """The target for one job: ``allow`` raises what forbids a change."""
        if allow is None:
            return Guarded(self.raw, self.rate)
        return Guarded(self.raw, self.rate, allow, self.follower, self.now)


class Reach:
    """Opens each target once, and anew when the service behind it was gone."""

    def __init__(self, pace: Pace, speaks_for: Callable[[str, str], None]) -> None:
        """``speaks_for`` hears whose credentials are used where, by ``TargetConfig.where``."""
        self._pace, self._speaks_for = pace, speaks_for
        self._connections = Connections()
        self._places: dict[TargetConfig, Place] = {}
        self._rates: dict[TargetConfig, Rate] = {}
        self._slots: dict[str, Slots] = {}
        # those of targets that are gone too: who waits there still is to hear of that
        self._followers: list[Follower] = []

    async def to(self, config: TargetConfig, gone: Place | None = None) -> Place:
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

    def _place(self, raw: Target, config: TargetConfig) -> Place:
        pace = self._pace
        rate = self._rates.setdefault(
            config, Rate(config.requests_per_second, pace.now, pace.sleep)
        )
        pace = replace(pace, poll_s=POLL_S[config.kind])
        follower = Follower(Guarded(raw, rate), pace, QUICKEST_S[config.kind])
        self._followers.append(follower)
        return Place(raw, rate, follower, pace.now)
