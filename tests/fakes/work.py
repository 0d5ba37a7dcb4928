"""A job's work, made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tuner.job import Job
from tuner.jobspec.prepared_job import PreparedJob, content_id, new_tuned_model
from tuner.jobspec.schema import EvaluationSpec, GateSpec, JobSpec, TrainingData
from tuner.types import Example, Grant, GranteeType, Role

GRANTS = (
    Grant(Role.READER, GranteeType.EVERYONE),
    Grant(Role.WRITER, GranteeType.USER, "ml@example.com"),
)
ROWS = tuple(Example(f"question {n}", f"answer {n}", n + 2) for n in range(12))
SPEC = JobSpec(
    job="capitals",
    training_data=TrainingData((Path("rows.csv"),)),
    base_model="models/tiny",
    evaluation=EvaluationSpec(holdout=0.2, require=GateSpec(at_least=0.5, better_than_base=True)),
    grants=GRANTS,
    transfer_ownership="lead@example.com",
    path=Path("capitals.yaml"),
)
WORK = PreparedJob(spec=SPEC, examples=ROWS[:10], holdout=ROWS[10:], warnings=())


def with_spec(**changes: object) -> PreparedJob:
    return replace(WORK, spec=replace(SPEC, **changes))


def job_of(work: PreparedJob) -> Job:
    return Job(
        name=work.spec.job,
        target=work.spec.target,
        tuned_model=f"tunedModels/{new_tuned_model(work).id}",
        content=content_id(work),
        spec=str(work.spec.path),
    )


def right_answers(tuned_model: str, work: PreparedJob = WORK) -> dict[str, dict[str, str]]:
    """The tuned model knows every held-out row, the base model none."""
    return {tuned_model: {row.text_input: row.output for row in work.holdout}}
