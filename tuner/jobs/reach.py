"""The targets of one run, each with what all jobs there share: its rate, its slots, its follower."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tuner.jobs.connections import Connections
from tuner.jobs.follower import QUICKEST_S, Follower
from tuner.jobs.guarded import Guarded
from tuner.jobs.limits import Rate, Slots
from tuner.jobs.runner import POLL_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.jobs.runner import Pace
    from tuner.targets import Target
    from tuner.types import TargetConfig


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
