"""Progress of all jobs of a run, written down together: what is lost of it costs nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.jobs.job import Job
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.ledger.claims import Claim

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
