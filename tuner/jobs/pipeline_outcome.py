"""What became of a pipeline, as plain data for the screen and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tuner.jobs import outcome
from tuner.types import Phase

if TYPE_CHECKING:
    from tuner.errors import TunerError
    from tuner.jobs.outcome import Outcome
    from tuner.jobs.pipeline_spec import Pipeline


class PipelineOutcome(NamedTuple):
    """What became of a pipeline.

    Attributes:
        pipeline: Which.
        outcomes: By stage; one that was not begun is missing.
        states: A word for every stage: WON, BEATEN, DELETED, SKIPPED, WAITING, or its job's phase.
        winners: The stage that is kept, by grouping that keeps the best.
        errors: What went wrong beside the jobs.
    """

    pipeline: Pipeline
    outcomes: dict[str, Outcome]
    states: dict[str, str]
    winners: dict[str, str]
    errors: tuple[TunerError, ...] = ()

    @property
    def failures(self) -> list[TunerError]:
        """What to tell the user, in the order of the file; empty when all went well.

        Where the best of a matrix is kept, the others may have missed the gate or been stopped.
        """
        settled = {
            name
            for grouping in self.pipeline.groupings
            if grouping.name in self.winners
            for name in grouping.stages
        }
        found = [
            each.failure
            for name, each in self.outcomes.items()
            if each.failure and not (name in settled and _is_no_candidate(each))
        ]
        return [*found, *self.errors]

    @property
    def failure(self) -> TunerError | None:
        """The gravest of them."""
        code = self.exit_code
        return next((error for error in self.failures if error.exit_code == code), None)

    @property
    def exit_code(self) -> int:
        """0 when all went well."""
        return outcome.gravest({error.exit_code for error in self.failures})


def _is_no_candidate(ended: Outcome) -> bool:
    """Whether it ended as one may that another was preferred to."""
    job = ended.job
    stopped = job.phase is Phase.CANCELLED and bool(job.stopping)
    return ended.error is None and (stopped or job.phase is Phase.REJECTED)
