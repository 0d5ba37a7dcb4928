"""A validated job spec with its examples: everything needed to start a job."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner import names
from tuner.data.checks.size import check_request
from tuner.errors import InvalidInput
from tuner.jobspec.load import NO_EXTRA_CHECKS, read_data, read_partial_spec
from tuner.targets import TARGETS
from tuner.types import NewTunedModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tuner.errors import Problem
    from tuner.jobspec.load import ExtraChecks, PartialSpec, SpecData
    from tuner.jobspec.schema import JobSpec
    from tuner.types import Example, Hyperparameters

DEFAULT_EPOCHS = 5
LARGE_DATASET_EXAMPLES = 1_000
BATCH_SIZES = (4, 16)
"""Of small and of large data sets: the service's choices for keys that are not set. A test compares
them with those of the local service, which follow Google's documentation."""


@dataclass(frozen=True)
class PreparedJob:
    """A spec and its examples, without errors.

    Attributes:
        examples: To tune on, the instruction in front of each text_input.
        holdout: To evaluate with, likewise; no input is in both if they were split from one file.
        warnings: Problems that do not stop the job.
        is_on_disk: Whether it can be loaded again from files.
    """

    spec: JobSpec
    examples: Sequence[Example]
    holdout: tuple[Example, ...] = ()
    warnings: tuple[Problem, ...] = ()
    is_on_disk: bool = True

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what decides the weights, in hex.

        It covers compact JSON in ASCII with sorted keys: ``base_model`` or ``tuned_model_source``,
        ``hyperparameters`` (those that are set), and ``examples``, ``[text_input, output]`` each, in
        order and as they are sent: with the instruction, and without the held-out rows. Lines, file
        names, formats, names and the settings that can be changed later do not count.
        """
        spec = self.spec
        rates = asdict(spec.hyperparameters).items()
        source = "base_model" if spec.base_model else "tuned_model_source"
        content = {
            source: spec.base_model or spec.tuned_model_source,
            "hyperparameters": {key: value for key, value in rates if value is not None},
            "examples": [(each.text_input, each.output) for each in self.examples],
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def prepare_job(
    given: Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    examples: Any = None,
    extra: ExtraChecks = NO_EXTRA_CHECKS,
) -> PreparedJob:
    """Read a spec and its data, and check all that can be checked without the service.

    ``examples`` replace ``training_data.path``; see ``tuner.data.frame.batches``.

    Raises:
        InvalidInput: Every error in the spec and the data.
    """
    partial = read_partial_spec(given, overrides, in_memory=examples is not None)
    is_on_disk = isinstance(given, Path) and examples is None
    data = read_data(partial, examples, extra)
    return build_prepared_job(partial, data, extra, is_on_disk=is_on_disk)


def build_prepared_job(
    partial: PartialSpec,
    data: SpecData,
    extra: ExtraChecks = NO_EXTRA_CHECKS,
    *,
    is_on_disk: bool = True,
) -> PreparedJob:
    """Combine a spec and its data. Raises InvalidInput with every error in them."""
    known = {problem.where for problem in partial.problems}
    problems = [*partial.problems, *(each for each in data.problems if each.where not in known)]
    errors = [problem for problem in problems if problem.severity == "error"]
    spec = partial.spec
    if errors or spec is None:
        raise InvalidInput([*errors, *(each for each in problems if each not in errors)])
    if spec.evaluation and extra.metric:
        found = extra.metric(spec.evaluation.metric, spec.path.parent)
        where = ("evaluation", "metric")
        errors = [partial.document.problem(where, *each, "bad-metric") for each in found]
        if errors:
            raise InvalidInput(errors)
    warnings = (*problems, *_warnings(partial, spec, len(data.examples)))
    job = PreparedJob(spec, data.examples, data.holdout, warnings, is_on_disk)
    limits = TARGETS[spec.target.kind].limits
    too_large = check_request(new_tuned_model(job), str(spec.training_data.path), limits)
    if too_large:
        raise InvalidInput(too_large)
    return job


def new_tuned_model(job: PreparedJob) -> NewTunedModel:
    """Return the model to create; its id is the spec's, or else derived from the content."""
    spec = job.spec
    return NewTunedModel(
        id=spec.tuned_model_id or content_id(job),
        examples=job.examples,
        base_model=spec.base_model,
        tuned_model_source=spec.tuned_model_source,
        display_name=spec.display_name,
        description=spec.description,
        temperature=spec.temperature,
        top_p=spec.top_p,
        top_k=spec.top_k,
        hyperparameters=spec.hyperparameters,
    )


def with_source(job: PreparedJob, source: str) -> PreparedJob:
    """Return the same job, tuned from the model ``source``; unchanged if that is empty."""
    if not source:
        return job
    return replace(job, spec=replace(job.spec, base_model="", tuned_model_source=source))


def content_id(job: PreparedJob) -> str:
    """Return ``{slug of the job's name}-{10 hex digits of the digest}``."""
    return names.content_id(job.spec.job, job.digest)


def total_steps(examples: int, hyperparameters: Hyperparameters) -> int:
    """Return the number of training steps; the last batch of an epoch may be smaller."""
    epochs = hyperparameters.epoch_count or DEFAULT_EPOCHS
    batch = hyperparameters.batch_size or BATCH_SIZES[examples >= LARGE_DATASET_EXAMPLES]
    return epochs * -(-examples // batch)


def _warnings(partial: PartialSpec, spec: JobSpec, examples: int) -> Iterator[Problem]:
    evaluation, stopping = spec.evaluation, spec.early_stopping
    if evaluation and evaluation.require.better_than_base:
        instruction = spec.training_data.instruction or evaluation.base_instruction
        if not instruction and not spec.tuned_model_source:
            what = (
                "the base model has no instruction: it may fail only because of its answer format"
            )
            fix = "add evaluation.base_instruction: the task, and the labels it may answer with"
            at = ("evaluation", "require", "better_than_base")
            problem = partial.document.problem(at, what, fix, "untold-base")
            yield replace(problem, severity="warning")
    steps = total_steps(examples, spec.hyperparameters)
    if stopping and stopping.patience_steps >= steps:
        what = (
            f"the tuning has {steps:,} steps: a patience of {stopping.patience_steps:,} "
            "never stops it"
        )
        where = ("early_stopping", "patience_steps")
        problem = partial.document.problem(where, what, "write fewer", "idle-key")
        yield replace(problem, severity="warning")
