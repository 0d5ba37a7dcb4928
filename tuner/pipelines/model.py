"""A pipeline, its stages and their results, as frozen data."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

from tuner import names
from tuner.jobs import outcome
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tuner.errors import TunerError
    from tuner.job import Job
    from tuner.jobs.outcome import Outcome
    from tuner.jobs.pipeline_store import Member, SavedPipeline
    from tuner.jobs.store import Store
    from tuner.jobspec.prepared_job import PreparedJob

SELECTED, NOT_SELECTED, DELETED, SKIPPED = "selected", "not selected", "deleted", "skipped"
"""States of a stage that cannot be derived from its job."""
_OLD_WORDS = {"won": SELECTED, "beaten": NOT_SELECTED}
_COLUMNS = ("phase", "steps", "loss", "tuned", "base", "target", "tuned_model")


class Stage(NamedTuple):
    """One job of a pipeline.

    Attributes:
        name: Unique in the pipeline, e.g. ``grid[learning_rate=0.001]``.
        label: Which variant of a matrix it is, e.g. ``learning_rate=0.001``; empty without one.
        after: The groupings that must have succeeded before it starts.
        source: The grouping whose model it tunes further, as long as that model is unknown: the
            spec's ``tuned_model_source`` is then ``tunedModels/of-GROUPING``. Otherwise empty.
        overrides: The ``--set`` arguments that give the same spec when used with its spec file.
    """

    name: str
    label: str
    work: PreparedJob
    after: tuple[str, ...]
    source: str
    grouping: str
    overrides: tuple[str, ...] = ()


class Grouping(NamedTuple):
    """One entry below ``jobs``: the variants of its matrix, or a single stage of the same name.

    Attributes:
        keep: Whether every stage is shared and transferred, or only the best one.
        losers: What happens to the models that are not selected.
    """

    name: str
    stages: tuple[str, ...]
    keep: Literal["all", "best"] = "all"
    losers: Literal["keep", "delete"] = "keep"


class Pipeline(NamedTuple):
    """A pipeline file with its matrices expanded; groupings and stages in the order of the file.

    Attributes:
        max_parallel: Tunings at a time; 0 is no limit.
        fail_fast: Whether nothing more is started after the first failure.
        overrides: What ``--set`` changed in the file.
    """

    name: str
    path: Path
    stages: tuple[Stage, ...]
    groupings: tuple[Grouping, ...]
    max_parallel: int = 0
    fail_fast: bool = False
    overrides: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """``{slug of the name}-{10 hex digits}``, of the stages, their order and what is kept."""
        content = {
            "stages": [
                (stage.name, stage.after, stage.source, *model_of(stage)) for stage in self.stages
            ],
            "groupings": [(grouping.name, grouping.keep) for grouping in self.groupings],
        }
        text = json.dumps(content, separators=(",", ":"))
        return names.content_id(self.name, hashlib.sha256(text.encode()).hexdigest())


def model_of(stage: Stage) -> tuple[str, str]:
    """The stage's target and tuned model; with an unknown source, an ID of what is known so far."""
    from tuner.jobspec.prepared_job import (
        new_tuned_model,  # slow to import; `tuner status` needs only names
    )

    target = stage.work.spec.target
    return f"{target.kind}:{target.endpoint}", new_tuned_model(stage.work).name


class PipelineOutcome(NamedTuple):
    """The result of a pipeline run.

    Attributes:
        outcomes: By stage; a stage that was not started is missing.
        states: By stage: SELECTED, NOT SELECTED, DELETED, SKIPPED, WAITING, or its job's phase.
        winners: The selected stage, by grouping that keeps the best.
        errors: Errors outside the jobs.
    """

    pipeline: Pipeline
    outcomes: dict[str, Outcome]
    states: dict[str, str]
    winners: dict[str, str]
    errors: tuple[TunerError, ...] = ()

    @property
    def failures(self) -> list[TunerError]:
        """Return the errors to show, in the order of the file.

        Where the best variant was selected, others may have missed the gate or been stopped early.
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
            if each.failure and not (name in settled and _was_ruled_out(each))
        ]
        return [*found, *self.errors]

    @property
    def failure(self) -> TunerError | None:
        """The error that decides the exit code."""
        code = self.exit_code
        return next((error for error in self.failures if error.exit_code == code), None)

    @property
    def exit_code(self) -> int:
        """The exit code of the run; 0 if nothing failed."""
        return outcome.gravest({error.exit_code for error in self.failures})


def record(ended: PipelineOutcome) -> dict[str, object]:
    """Return the outcome as plain data, without the texts of examples."""
    stages = []
    for name, state in ended.states.items():
        found = ended.outcomes.get(name)
        row = stage_row(name, state, found.job if found else None)
        more = outcome.record(found) if found else {}
        details = {key: more[key] for key in ("evaluation", "permissions", "error") if key in more}
        stages.append(row | details)
    failure = ended.failure
    return {
        "pipeline": ended.pipeline.name,
        "id": ended.pipeline.id,
        "winners": ended.winners,
        "stages": stages,
        "error": failure.what if failure else None,
    }


def rows(ended: PipelineOutcome) -> list[dict[str, object]]:
    """Return one row per stage, in the order of the file."""
    jobs = {name: each.job for name, each in ended.outcomes.items()}
    return [stage_row(name, state, jobs.get(name)) for name, state in ended.states.items()]


def stored_rows(known: SavedPipeline, store: Store) -> list[dict[str, object]]:
    """Return the same rows, read from the local store only."""
    found = [(each, store.find(each.where, each.tuned_model)) for each in known.members]
    return [stage_row(each.stage, _word(each, job), job) for each, job in found]


def stage_row(name: str, state: str, job: Job | None) -> dict[str, object]:
    """One row of a pipeline's status: ``outcome.summary`` under the stage's own name."""
    row = outcome.summary(job) if job else dict.fromkeys(_COLUMNS)
    row.pop("job", None)
    return {"stage": name, **row, "phase": state}


def counts(stages: Sequence[Mapping[str, object]]) -> str:
    """Return the number of stages in each state, e.g. ``2 tune, 1 waiting, 1 done of 4``."""
    found = Counter(str(each["phase"]).lower() for each in stages)
    return f"{', '.join(f'{count} {word}' for word, count in found.items())} of {len(stages)}"


def stage_state(member: Member) -> str:
    """Return the stored state of a stage; older stores used other words."""
    return _OLD_WORDS.get(member.state, member.state)


def _word(member: Member, job: Job | None) -> str:
    """Return the stored state, unless the job is in progress again."""
    if member.state and (job is None or job.phase.is_end):
        return stage_state(member).upper()
    return job.phase.value if job else "WAITING"


def _was_ruled_out(ended: Outcome) -> bool:
    """Whether it missed its gate or was stopped early; no failure if another stage was selected."""
    job = ended.job
    stopped = job.phase is Phase.CANCELLED and bool(job.stopping)
    return ended.error is None and (stopped or job.phase is Phase.REJECTED)
