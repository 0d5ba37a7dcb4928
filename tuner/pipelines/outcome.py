"""What became of a pipeline, as plain data for the screen and for programs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from tuner.jobs import outcome
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.errors import TunerError
    from tuner.job import Job
    from tuner.jobs.ledger import Ledger
    from tuner.jobs.ledger.pipelines import Known, Member
    from tuner.jobs.outcome import Outcome
    from tuner.pipelines.spec import Pipeline


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


def record(ended: PipelineOutcome) -> dict[str, object]:
    """One outcome, without the texts of examples."""
    stages = [
        {
            **stage_row(name, state, ended.outcomes[name].job if name in ended.outcomes else None),
            **_details(ended.outcomes.get(name)),
        }
        for name, state in ended.states.items()
    ]
    failure = ended.failure
    return {
        "pipeline": ended.pipeline.name,
        "id": ended.pipeline.id,
        "winners": ended.winners,
        "stages": stages,
        "error": failure.what if failure else None,
    }


def rows(ended: PipelineOutcome) -> list[dict[str, object]]:
    """A line a stage, in the order of the file."""
    jobs = {name: each.job for name, each in ended.outcomes.items()}
    return [stage_row(name, state, jobs.get(name)) for name, state in ended.states.items()]


def known_rows(known: Known, ledger: Ledger) -> list[dict[str, object]]:
    """The same, from the ledger alone."""
    found = [(each, ledger.find(each.where, each.tuned_model)) for each in known.members]
    return [stage_row(each.stage, _word(each, job), job) for each, job in found]


def stage_row(name: str, state: str, job: Job | None) -> dict[str, object]:
    """One line of a pipeline's status: ``outcome.summary`` under the stage's own name."""
    told = outcome.summary(job) if job else dict.fromkeys(_COLUMNS)
    told.pop("job", None)
    return {"stage": name, **told, "phase": state}


def counts(stages: Sequence[Mapping[str, object]]) -> str:
    """How many are where, e.g. ``2 tune, 1 waiting, 1 done of 4``."""
    found = Counter(str(each["phase"]).lower() for each in stages)
    return f"{', '.join(f'{count} {word}' for word, count in found.items())} of {len(stages)}"


_COLUMNS = ("phase", "steps", "loss", "tuned", "base", "target", "tuned_model")


def _details(ended: Outcome | None) -> dict[str, object]:
    if ended is None:
        return {}
    told = outcome.record(ended)
    return {key: told[key] for key in ("evaluation", "permissions", "error")}


def _word(member: Member, job: Job | None) -> str:
    """What the pipeline says of it, unless the job is on its way again."""
    if member.state and (job is None or job.phase.is_end):
        return member.state.upper()
    return job.phase.value if job else "WAITING"


def _is_no_candidate(ended: Outcome) -> bool:
    """Whether it ended as one may that another was preferred to."""
    job = ended.job
    stopped = job.phase is Phase.CANCELLED and bool(job.stopping)
    return ended.error is None and (stopped or job.phase is Phase.REJECTED)
