"""Spec and pipeline files, read and checked all together, and what of them is to be planned."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tuner.data.checks.size import check_request
from tuner.errors import InvalidInput, Problem
from tuner.jobs.planning.asked import alone, stages
from tuner.jobspec.files import find_specs, is_pipeline
from tuner.jobspec.prepared_job import PreparedJob, new_tuned_model, prepare_job
from tuner.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tuner.jobs.planning.asked import Asked
    from tuner.jobspec.load import BatchCheck
    from tuner.jobspec.schema import JobSpec
    from tuner.pipelines.spec import Pipeline
    from tuner.types import TargetConfig

    Looks = Callable[[JobSpec], BatchCheck]


class Loaded(NamedTuple):
    """What files tell of, in their order, free of problems.

    Attributes:
        parts: a PreparedJob a spec, a Pipeline a pipeline.
    """

    parts: tuple[PreparedJob | Pipeline, ...]

    @property
    def works(self) -> list[PreparedJob]:
        """Those that stand alone."""
        return [part for part in self.parts if isinstance(part, PreparedJob)]

    @property
    def pipelines(self) -> list[Pipeline]:
        """The others."""
        return [part for part in self.parts if not isinstance(part, PreparedJob)]

    @property
    def every_work(self) -> list[PreparedJob]:
        """Those that stand alone, and those of the pipelines."""
        return [asked.work for asked in self.asked()]

    def asked(self, *, force: bool = False) -> list[Asked]:
        """Each job and each stage, to plan."""
        return [each for part in self.parts for each in _asked(part, force=force)]


def load(
    given: Sequence[str],
    overrides: Sequence[str] = (),
    looks: Looks | None = None,
    target: TargetConfig | None = None,
) -> Loaded:
    """Read and check files, and all that is in folders.

    Args:
        given: Specs, pipelines, folders of them.
        overrides: As ``--set``, over each of them.
        looks: Makes of a spec one more look at its data; see ``read_material``.
        target: Where all of it is to run, in place of what the specs say.

    Raises:
        InvalidInput: Everything that is wrong with any of them.
    """
    parts: list[PreparedJob | Pipeline] = []
    problems: list[Problem] = []
    for path in find_specs(given):
        try:
            parts.append(_load(path, overrides, looks, target))
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems)
    return Loaded(tuple(parts))


def _load(
    path: Path, overrides: Sequence[str], looks: Looks | None, target: TargetConfig | None
) -> PreparedJob | Pipeline:
    if is_pipeline(path):
        from tuner.pipelines.spec import load_pipeline

        pipeline = load_pipeline(path, overrides, looks)
        return _moved(pipeline, target) if target else pipeline
    return prepare_job(path, [*overrides, *([_said(target)] if target else [])], looks=looks)


def _said(target: TargetConfig) -> str:
    """A target as ``--set`` says it, whole: YAML reads JSON. Its file is named from here."""
    fields = {key: value for key, value in asdict(target).items() if value}
    if target.credentials_file:
        fields["credentials_file"] = str(Path(target.credentials_file).absolute())
    return f"target={json.dumps(fields)}"


def _moved(pipeline: Pipeline, target: TargetConfig) -> Pipeline:
    """The same jobs at another target.

    Raises:
        InvalidInput: They are too much for it.
    """
    moved = tuple(
        stage._replace(work=replace(stage.work, spec=replace(stage.work.spec, target=target)))
        for stage in pipeline.stages
    )
    problems = [problem for stage in moved for problem in _too_much(stage.work)]
    if problems:
        raise InvalidInput(list(dict.fromkeys(problems)))
    return pipeline._replace(stages=moved)


def _too_much(work: PreparedJob) -> Iterator[Problem]:
    """What breaks the limits of its target, in the words of ``tuner.data.checks``."""
    path, limits = str(work.spec.training_data.path), TARGETS[work.spec.target.kind].limits
    for key, most in (("text_input", limits.text_input_chars), ("output", limits.output_chars)):
        for each in work.examples if most else ():
            size = len(getattr(each, key))
            if most and size > most:
                what = f"{key} has {size:,} characters, the target takes {most:,}"
                rule = f"long-{key.replace('_', '-')}"
                yield Problem(path, each.line, 1, what, "shorten it, or delete the row", rule)
    yield from check_request(new_tuned_model(work), path, limits)


def _asked(part: PreparedJob | Pipeline, *, force: bool) -> Sequence[Asked]:
    return (
        [alone(part, force=force)] if isinstance(part, PreparedJob) else stages(part, force=force)
    )
