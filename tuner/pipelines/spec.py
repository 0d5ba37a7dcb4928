"""A pipeline: many jobs in an order, some of them the variants of a matrix, as its file says it."""

from __future__ import annotations

import hashlib
import json
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tuner import names
from tuner.errors import InvalidInput, Problem, SpecError
from tuner.jobspec.files import JOB, PIPELINE
from tuner.jobspec.load import drop_empty_keys, drop_implied_problems
from tuner.jobspec.messages import check_section, described
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.pipelines.keys import PipelineKeys
from tuner.yaml_source import apply_overrides, list_or_empty, mapping_or_empty, read_document

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tuner.jobspec.load import BatchCheck
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.jobspec.schema import JobSpec
    from tuner.yaml_source import Document


class Stage(NamedTuple):
    """One job of a pipeline.

    Attributes:
        name: Unique in the pipeline, e.g. ``grid[learning_rate=0.001]``.
        label: Which one of a matrix it is, e.g. ``learning_rate=0.001``; empty without one.
        work: What to do; free of problems.
        after: The groupings that must have ended well before it begins.
        source: The grouping whose model it tunes further, while that is not known beforehand: its
            spec's ``tuned_model_source`` is ``tunedModels/of-GROUPING`` until then. Else empty.
        grouping: The one it belongs to.
        overrides: What ``--set`` would say to read the same from its spec file.
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
        name: Unique in the pipeline; what ``after`` names.
        stages: Their names, in order.
        keep: Whether each of them is shared and handed over, or the best one alone.
        losers: What becomes of the others.
    """

    name: str
    stages: tuple[str, ...]
    keep: Literal["all", "best"] = "all"
    losers: Literal["keep", "delete"] = "keep"


class Pipeline(NamedTuple):
    """A pipeline file, expanded; groupings and stages in the order of the file.

    Attributes:
        name: ``pipeline:`` of the file.
        path: The file, as the user named it.
        stages: Free of cycles.
        groupings: Each stage belongs to one.
        max_parallel: Tunings at a time; 0 is no limit.
        fail_fast: Whether nothing more is begun after the first failure.
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
        """``{slug of the name}-{10 hex digits}``: the same stages, order and choices give the same."""
        content = {
            "stages": [
                (stage.name, stage.after, stage.source, *_model(stage)) for stage in self.stages
            ],
            "groupings": [(grouping.name, grouping.keep) for grouping in self.groupings],
        }
        text = json.dumps(content, separators=(",", ":"))
        return names.content_id(self.name, hashlib.sha256(text.encode()).hexdigest())


def load_pipeline(
    path: Path,
    overrides: Sequence[str] = (),
    looks: Callable[[JobSpec], BatchCheck] | None = None,
) -> Pipeline:
    """Read a pipeline file, the specs it names and their data, and check all that can be checked here.

    Args:
        path: The file.
        overrides: As ``--set``, over the pipeline file.
        looks: Makes of a spec one more look at its data; see ``read_material``.

    Raises:
        InvalidInput: Everything that is wrong with the pipeline, its specs and their data.
    """
    from tuner.pipelines.entries import read_entries
    from tuner.pipelines.stages import expand

    document, keys, problems = read_top(path, overrides)
    if keys is None:
        raise InvalidInput(problems)
    entries, found = read_entries(document)
    problems += found
    stages, groupings, found = expand(entries, looks, are_well=not problems)
    problems += found
    if problems:
        raise InvalidInput(_told_once(document, problems))
    return Pipeline(
        keys.pipeline,
        path,
        tuple(stages),
        tuple(groupings),
        keys.max_parallel or 0,
        keys.fail_fast,
        tuple(overrides),
    )


def read_top(
    path: Path, overrides: Sequence[str] = ()
) -> tuple[Document, PipelineKeys | None, list[Problem]]:
    """A pipeline file, its keys at the top, and what is wrong with those.

    The keys are None when there is nothing that could be read below them.

    Raises:
        SpecError: The file is no YAML at all, cannot be read, or is the spec of a job.
    """
    document = read_document(path)
    if JOB in mapping_or_empty(document.value) and not {"pipeline", PIPELINE} & {
        *mapping_or_empty(document.value)
    }:
        what = "this is the spec of one job, and no pipeline"
        fix = f"`tuner validate {quote(str(path))}` checks it; a pipeline names jobs, below jobs:"
        raise SpecError([Problem(str(path), 0, 0, what, fix, "no-pipeline")])
    document = apply_overrides(document, overrides)
    document = document._replace(value=_given(document.value))
    return document, *_top(document)


def _given(value: Any) -> Any:
    """Empty keys count as not written, but where an empty one clears a key of the spec."""
    given = drop_empty_keys(value)
    jobs = [mapping_or_empty(entry) for entry in list_or_empty(mapping_or_empty(value).get("jobs"))]
    for entry, kept in zip(jobs, list_or_empty(mapping_or_empty(given).get("jobs")), strict=True):
        if entry.get("set"):
            kept["set"] = entry["set"]
        if variants := list_or_empty(mapping_or_empty(entry.get("matrix")).get("list")):
            kept["matrix"]["list"] = variants
    return given


def _top(document: Document) -> tuple[PipelineKeys | None, list[Problem]]:
    """The keys at the top; None when there is nothing that could be read below them."""
    value = document.value if isinstance(document.value, dict) else {}
    jobs = value.get("jobs")
    top = value | ({"jobs": []} if "jobs" in value else {})
    keys, problems = check_section(PipelineKeys, document._replace(value=top))
    problems = [*document.problems, *problems]
    if "jobs" in value and (not isinstance(jobs, list) or not jobs):
        what = f"jobs must be a list of jobs, not {described(jobs) if jobs else 'nothing'}"
        fix = "write each on a line of its own, beginning with -, e.g. - quickstart.yaml"
        problems.append(document.problem(("jobs",), what, fix, "wrong-type"))
        return None, problems
    if keys is None and "jobs" in value:
        keys = PipelineKeys("", ())
    return keys, problems


def _told_once(document: Document, problems: list[Problem]) -> list[Problem]:
    """Errors before warnings, the pipeline's before its specs', and none at what was no value."""
    known = {problem.where for problem in document.problems}
    others = [each for each in problems if each.where not in known]
    told = drop_implied_problems(dict.fromkeys([*document.problems, *others]))
    path = str(document.path)
    return sorted(told, key=lambda each: (each.severity, each.path != path, each))


def _model(stage: Stage) -> tuple[str, str]:
    """Where its model is, and which: of a model not known yet, what is known of its content."""
    target = stage.work.spec.target
    return f"{target.kind}:{target.endpoint}", new_tuned_model(stage.work).name
