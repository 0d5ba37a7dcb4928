"""So many tunings of a pipeline at a time: those under way first, whoever's turn it is, then in the file's order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tuner.errors import NotFinished, Superseded, Unavailable
from tuner.jobs.running.limits import Slots
from tuner.pipelines.winner import key
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from tuner.job import Job
    from tuner.jobs.outcome import Outcome
    from tuner.jobs.running.session import Session
    from tuner.pipelines.begun import Begun

_FIRST = -1


class Tunings:
    """Follows the tunings of one run of a pipeline.

    Attributes:
        unwatched: The latest stage that may be tuning though nobody follows it; empty when there is none.
    """

    def __init__(self, session: Session, most: int) -> None:
        """``most`` at a time; 0 is no limit."""
        self._session, self._slots = session, Slots(most)
        self._under_way: dict[str, asyncio.Task[Outcome]] = {}
        self.unwatched = ""

    @property
    def under_way(self) -> Collection[asyncio.Task[Outcome]]:
        """Those that were under way when this run began."""
        return self._under_way.values()

    def go_on(self, found: Begun) -> None:
        """Follow a tuning that is under way, though its stage may have to wait for others."""
        self._under_way[key(found.job)] = asyncio.create_task(self._go_on(found))

    async def tune(self, found: Begun, order: int, may_begin: Callable[[], bool]) -> Outcome | None:
        """Take a stage to where it is tuned, or nowhere when it may not begin by the time it could."""
        if key(found.job) in self._under_way:
            return await self._under_way[key(found.job)]
        async with self._slots.one(order):
            return await self.follow(found, found.job, Phase.EVALUATE) if may_begin() else None

    async def follow(self, found: Begun, job: Job, until: Phase | None) -> Outcome:
        """Take a stage to a phase, and remember it when it was left tuning."""
        followed = await self._session.follow(job, found.work, until=until)
        error, is_tuning = followed.error, followed.job.phase is Phase.TUNE
        if isinstance(error, NotFinished | Superseded | Unavailable) or (error and is_tuning):
            self.unwatched = found.member.stage
        return followed

    async def _go_on(self, found: Begun) -> Outcome:
        async with self._slots.one(_FIRST):
            return await self.follow(found, found.job, Phase.EVALUATE)
