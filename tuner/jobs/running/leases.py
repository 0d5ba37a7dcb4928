"""What this process has taken, held by a beat until it is given back or the process is gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from tuner.errors import TunerError
from tuner.jobs.ledger import claims
from tuner.jobs.ledger.claims import BEAT_S, LEASE_S, Claim, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.job import Job
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.ledger.claims import Holder, Me


class Times(NamedTuple):
    """How often a runner says that it lives, is looked after, and is given up."""

    beat_s: float = BEAT_S
    look_s: float = 1.0
    lease_s: float = LEASE_S


class Leases:
    """The claims of one session; a runner for the ledger from the first of them on."""

    def __init__(
        self, ledger: Ledger, now: Callable[[], float], on_beat: Callable[[], None], times: Times
    ) -> None:
        """``now`` counts seconds and never goes back; ``on_beat`` is called before every beat."""
        self._ledger, self._now, self._on_beat, self.times = ledger, now, on_beat, times
        self._me: Me | None = None
        self._beats: asyncio.Task[None] | None = None
        self._held: dict[tuple[str, str], tuple[Claim, Job]] = {}

    @property
    def me(self) -> Me:
        """This session as a runner."""
        if self._me is None:
            self._me = claims.register(self._ledger.store)
            self._beats = asyncio.create_task(self._beat())
        return self._me

    async def begin(self, job: Job, watch: Watch | None = None) -> Claim | Holder:
        """Claim ``job`` and write it down, or tell who has it."""
        key = (job.where, job.tuned_model)
        held = self._held.get(key)
        if held is not None and held[1] == job:
            return held[0]
        claim = await self._ledger.begun(job, self.me, watch.is_gone if watch else None)
        if isinstance(claim, Claim):
            self.wrote(job, claim)
        return claim

    def wrote(self, job: Job, claim: Claim) -> None:
        """``job`` is in the ledger, as ours."""
        self._held[job.where, job.tuned_model] = (claim, job)

    def known(self, job: Job) -> Job | None:
        """As we wrote it last; None when it is not ours."""
        held = self._held.get((job.where, job.tuned_model))
        return held[1] if held else None

    def lost(self, job: Job) -> None:
        """Another runner has it."""
        self._held.pop((job.where, job.tuned_model), None)

    def watch(self) -> Watch:
        """To see whether another runner is gone."""
        return Watch(self._now, self.times.lease_s)

    async def close(self) -> None:
        """Give back what was taken."""
        if self._beats is not None and self._me is not None:
            self._beats.cancel()
            await asyncio.gather(self._beats, return_exceptions=True)
            with suppress(TunerError):  # then it looks like a crash, and is succeeded as one
                claims.release(self._ledger.store, self._me)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.times.beat_s)
            with suppress(TunerError):  # whoever writes next hears of it
                self._on_beat()
                claims.beat(self._ledger.store, self.me)
