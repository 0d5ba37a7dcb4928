"""How a session writes its jobs down: as its own, as one that looks on, and soon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.events.notify import notices

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.job import Job
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.ledger.claims import Claim
    from tuner.jobs.running.leases import Leases
    from tuner.jobspec.prepared_job import PreparedJob


NOTE_S = 2.0


class Notes:
    """Jobs that moved since they were last written down, each once, every ``NOTE_S`` at most."""

    def __init__(self, ledger: Ledger, now: Callable[[], float]) -> None:
        """``now`` counts seconds and never goes back."""
        self._ledger, self._now = ledger, now
        self._moved: dict[tuple[str, str], tuple[Job, Claim | None]] = {}
        self._written_at = -math.inf

    def note(self, job: Job, claim: Claim | None) -> None:
        """Write it down at the next occasion, or now when the last one was long ago."""
        self._moved[job.where, job.tuned_model] = (job, claim)
        if self._now() - self._written_at >= NOTE_S:
            self.flush()

    def drop(self, job: Job) -> None:
        """It was written down otherwise."""
        self._moved.pop((job.where, job.tuned_model), None)

    def latest(self, job: Job) -> Job | None:
        """What is still to be written down of it; None when the ledger has it all."""
        found = self._moved.get((job.where, job.tuned_model))
        return found[0] if found else None

    def flush(self) -> None:
        """Write down what there is, in one transaction."""
        self._written_at = self._now()
        if self._moved:
            self._ledger.note(self._moved.values())
            self._moved.clear()


@dataclass(frozen=True, slots=True)
class Own:
    """A job that this session has claimed; all raise Superseded once another runner has it."""

    ledger: Ledger
    leases: Leases
    notes: Notes
    claim: Claim
    work: PreparedJob

    def begin(self, job: Job) -> None:
        """It was written down with its claim."""

    async def save(self, job: Job) -> None:
        """Write it down; its end together with whom to tell of it."""
        told = notices(job, self.work) if job.phase.is_end else ()
        self.notes.drop(job)  # or else, written down right after this, it would go back
        await self.ledger.saved(job, claim=self.claim, notices=told)
        self.leases.wrote(job, self.claim)

    def note(self, job: Job) -> None:
        """Write it down soon."""
        self.notes.note(job, self.claim)
        self.leases.wrote(job, self.claim)


@dataclass(frozen=True, slots=True)
class Seen:
    """A job that is watched: written down unless somebody works on it, who knows more."""

    ledger: Ledger

    def begin(self, job: Job) -> None:
        """Nothing is new yet."""

    async def save(self, job: Job) -> None:
        """Write down what was seen."""
        self.ledger.note([(job, None)])

    def note(self, job: Job) -> None:
        """Write down what was seen."""
        self.ledger.note([(job, None)])
