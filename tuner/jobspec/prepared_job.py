"""A job spec with its examples, checked: all that a job needs to start."""

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
from tuner.jobspec.load import read_data, read_partial_spec
from tuner.jobspec.schema import MetricSpec
from tuner.targets import TARGETS
from tuner.types import NewTunedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tuner.errors import Problem
    from tuner.jobspec.load import BatchCheck, PartialSpec, SpecData
    from tuner.jobspec.schema import JobSpec
    from tuner.types import Example, Hyperparameters


DEFAULT_EPOCHS = 5
MANY_EXAMPLES = 1_000
BATCH_SIZES = (4, 16)
"""Of few and of many examples: what the service chooses where a spec leaves it open. A test holds
these to what the service in the box does, which goes by Google's documents."""


def total_steps(examples: int, hyperparameters: Hyperparameters) -> int:
    """Optimizer steps in all, as the service would choose what is left open.

    The last batch of an epoch may be smaller.
    """
    epochs = hyperparameters.epoch_count or DEFAULT_EPOCHS
    batch = hyperparameters.batch_size or BATCH_SIZES[examples >= MANY_EXAMPLES]
    return epochs * -(-examples // batch)


@dataclass(frozen=True)
class PreparedJob:
    """What to do.

    Attributes:
        spec: Free of problems.
        examples: To tune on, the instruction in front of each text_input.
        holdout: To evaluate with, likewise; none of their inputs is among ``examples`` when they
            were split from the same file.
        warnings: What may be wrong, and stops nothing.
        is_on_disk: Whether files tell it all, so that it can be loaded once more.
    """

    spec: JobSpec
    examples: Sequence[Example]
    holdout: tuple[Example, ...] = ()
    warnings: tuple[Problem, ...] = ()
    is_on_disk: bool = True

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what decides the weights, in hex.

        Digested is compact JSON in ASCII with sorted keys: ``base_model`` or ``tuned_model_source``,
        ``hyperparameters`` (those that are set), and ``examples``, ``[text_input, output]`` each, in
        order and as they are sent: with the instruction, and without the rows held out. Lines, file
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
    looks: Callable[[JobSpec], BatchCheck] | None = None,
) -> PreparedJob:
    """Read a spec and its data, and check all that can be checked here.

    Args:
        given: A spec file, or a dict with the keys of one.
        overrides: As ``--set``.
        examples: In place of ``training_data.path``; see ``tuner.data.frame.batches``.
        looks: Makes of a spec one more look at its data; see ``read_data``.

    Raises:
        InvalidInput: Everything that is wrong with the spec and with the data; the data are read
            as far as the spec says where they are.
    """
    draft = read_partial_spec(given, overrides, in_memory=examples is not None)
    is_on_disk = isinstance(given, Path) and examples is None
    return build_prepared_job(draft, read_data(draft, examples, looks), is_on_disk=is_on_disk)


def build_prepared_job(
    draft: PartialSpec, material: SpecData, *, is_on_disk: bool = True
) -> PreparedJob:
    """The work that a spec and its data are, once nothing is wrong with either.

    Raises:
        InvalidInput: Everything that is wrong with the spec and with the data.
    """
    told = {problem.where for problem in draft.problems}
    problems = [*draft.problems, *(each for each in material.problems if each.where not in told)]
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors or draft.spec is None:
        raise InvalidInput([*errors, *(each for each in problems if each not in errors)])
    if no_metric := list(_no_metric(draft, draft.spec)):
        raise InvalidInput(no_metric)
    warnings = (*problems, *_warnings(draft, draft.spec, len(material.examples)))
    work = PreparedJob(draft.spec, material.examples, material.holdout, warnings, is_on_disk)
    limits = TARGETS[work.spec.target.kind].limits
    too_large = check_request(new_tuned_model(work), str(work.spec.training_data.path), limits)
    if too_large:
        raise InvalidInput(too_large)
    return work


def _no_metric(draft: PartialSpec, spec: JobSpec) -> Iterator[Problem]:
    """Why answers cannot be compared as asked: a library or the user's own code is missing."""
    if spec.evaluation and spec.evaluation.metric != MetricSpec():  # the usual one needs nothing
        from tuner.evaluation.metrics import check

        for what, fix in check(spec.evaluation.metric, spec.path.parent):
            yield draft.document.problem(("evaluation", "metric"), what, fix, "bad-metric")


def _warnings(draft: PartialSpec, spec: JobSpec, examples: int) -> Iterator[Problem]:
    """What can be done, and hardly is what was meant."""
    evaluation, stopping = spec.evaluation, spec.early_stopping
    if evaluation and evaluation.require.better_than_base:
        told = spec.training_data.instruction or evaluation.base_instruction
        if not told and not spec.tuned_model_source:
            what = "the base model is not told the task: it may fail on form alone"
            fix = "add evaluation.base_instruction: the task, and the labels it may answer with"
            at = ("evaluation", "require", "better_than_base")
            problem = draft.document.problem(at, what, fix, "untold-base")
            yield replace(problem, severity="warning")
    steps = total_steps(examples, spec.hyperparameters)
    if stopping and stopping.patience_steps >= steps:
        what = f"the tuning has {steps:,} steps: no patience of {stopping.patience_steps:,} ends"
        where = ("early_stopping", "patience_steps")
        problem = draft.document.problem(where, what, "write fewer", "idle-key")
        yield replace(problem, severity="warning")


def new_tuned_model(work: PreparedJob) -> NewTunedModel:
    """The model to create; its id is the spec's, or else made of its content."""
    spec = work.spec
    return NewTunedModel(
        id=spec.tuned_model_id or content_id(work),
        examples=work.examples,
        base_model=spec.base_model,
        tuned_model_source=spec.tuned_model_source,
        display_name=spec.display_name,
        description=spec.description,
        temperature=spec.temperature,
        top_p=spec.top_p,
        top_k=spec.top_k,
        hyperparameters=spec.hyperparameters,
    )


def with_source(work: PreparedJob, source: str) -> PreparedJob:
    """The same job, tuned from the model ``source``; as it is without one."""
    if not source:
        return work
    return replace(work, spec=replace(work.spec, base_model="", tuned_model_source=source))


def content_id(work: PreparedJob) -> str:
    """``{slug of the job's name}-{10 hex digits of the digest}``."""
    return names.content_id(work.spec.job, digest(work))


def digest(work: PreparedJob) -> str:
    """As ``PreparedJob.digest``."""
    return work.digest
