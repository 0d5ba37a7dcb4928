"""How a session writes its jobs down: as its own, or as one that only looks on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.jobs.notify import notices

if TYPE_CHECKING:
    from tuner.jobs.job import Job
    from tuner.jobs.leases import Leases
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.ledger.claims import Claim
    from tuner.jobs.notes import Notes
    from tuner.jobs.work import Work


@dataclass(frozen=True, slots=True)
class Own:
    """A job that this session has claimed; all raise Superseded once another runner has it."""

    ledger: Ledger
    leases: Leases
    notes: Notes
    claim: Claim
    work: Work

    def begin(self, job: Job) -> None:
        """It was written down with its claim."""

    def save(self, job: Job) -> None:
        """Write it down; its end together with whom to tell of it."""
        told = notices(job, self.work) if job.phase.is_end else ()
        self.ledger.save(job, claim=self.claim, notices=told)
        self.notes.drop(job)
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

    def save(self, job: Job) -> None:
        """Write down what was seen."""
        self.ledger.note([(job, None)])

    def note(self, job: Job) -> None:
        """Write down what was seen."""
        self.ledger.note([(job, None)])
