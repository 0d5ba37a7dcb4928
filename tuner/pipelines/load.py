"""Loads pipeline files with their specs and data, alone or many files at once."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner import names
from tuner.errors import InvalidInput, Problem, SpecError
from tuner.jobspec.files import JOB, PIPELINE, find_specs, is_pipeline
from tuner.jobspec.load import (
    NO_EXTRA_CHECKS,
    drop_empty_keys,
    drop_implied_problems,
    limits_of,
    partial_spec_of,
    read_data,
)
from tuner.jobspec.messages import check_section, described
from tuner.jobspec.prepared_job import PreparedJob, build_prepared_job, new_tuned_model, prepare_job
from tuner.jobspec.schema import GateSpec, MetricSpec
from tuner.pipelines.entries import CHAINED, PipelineKeys, read_entries
from tuner.pipelines.model import Grouping, Pipeline, Stage
from tuner.yaml_source import apply_overrides, list_or_empty, mapping_or_empty, read_document

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tuner.jobspec.load import ExtraChecks, PartialSpec, SpecData
    from tuner.pipelines.entries import Entry
    from tuner.pipelines.matrix import Variant
    from tuner.types import TargetConfig
    from tuner.yaml_source import Document, Value


_UNKNOWN = "tunedModels/of-"
"""Before a grouping's name: its model, as long as it is unknown which one that is."""


class LoadedJob(NamedTuple):
    """A job to plan: a spec, or a stage of a pipeline.

    Attributes:
        source: The grouping of the pipeline whose best model it tunes further; empty if known.
        competes: Whether only one job of its grouping is shared and transferred.
        force: Whether ``--force-share`` overrules its gate.
        pipeline, grouping: The ID of its pipeline, and its grouping there; empty for a spec.
    """

    title: str
    path: Path
    work: PreparedJob
    source: str = ""
    competes: bool = False
    force: bool = False
    pipeline: str = ""
    grouping: str = ""


class LoadedFiles(NamedTuple):
    """Specs and pipelines in the order of their files, free of problems."""

    parts: tuple[PreparedJob | Pipeline, ...]

    @property
    def works(self) -> list[PreparedJob]:
        """The specs."""
        return [part for part in self.parts if isinstance(part, PreparedJob)]

    @property
    def pipelines(self) -> list[Pipeline]:
        """The pipelines."""
        return [part for part in self.parts if isinstance(part, Pipeline)]

    @property
    def every_work(self) -> list[PreparedJob]:
        """The specs and the stages of the pipelines."""
        return [job.work for job in self.jobs()]

    def jobs(self, *, force: bool = False) -> list[LoadedJob]:
        """Every spec and every stage, to plan."""
        found = []
        for part in self.parts:
            if isinstance(part, PreparedJob):
                found.append(LoadedJob(part.spec.job, part.spec.path, part, force=force))
                continue
            best = {each.name for each in part.groupings if each.keep == "best"}
            pipeline_id = part.id
            for stage in part.stages:
                more = (stage.source, stage.grouping in best, force, pipeline_id, stage.grouping)
                found.append(LoadedJob(stage.name, part.path, stage.work, *more))
        return found


def load_files(
    given: Sequence[str],
    overrides: Sequence[str] = (),
    extra: ExtraChecks = NO_EXTRA_CHECKS,
    target: TargetConfig | None = None,
) -> LoadedFiles:
    """Load specs, pipelines, and folders of them; ``target`` replaces the targets that they name.

    Raises:
        InvalidInput: All problems of all files.
    """
    parts: list[PreparedJob | Pipeline] = []
    problems: list[Problem] = []
    for path in find_specs(given):
        try:
            if is_pipeline(path):
                parts.append(load_pipeline(path, overrides, extra, target))
            else:
                more = [_as_override("target", _target_keys(target))] if target else []
                parts.append(prepare_job(path, [*overrides, *more], extra=extra))
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems)
    return LoadedFiles(tuple(parts))


def load_pipeline(
    path: Path,
    overrides: Sequence[str] = (),
    extra: ExtraChecks = NO_EXTRA_CHECKS,
    target: TargetConfig | None = None,
) -> Pipeline:
    """Load a pipeline file with its specs and their data; ``target`` replaces the specs' targets.

    Raises:
        InvalidInput: All problems of the pipeline, its specs and their data.
    """
    document, keys, problems = _read_top(path, overrides)
    if keys is None:
        raise InvalidInput(problems)
    entries, more = read_entries(document)
    problems += more
    stages = _Stages(entries, extra, target)
    problems += stages.make(are_valid=not problems)
    if problems:
        raise InvalidInput(_reported(document, problems))
    return Pipeline(
        keys.pipeline,
        path,
        tuple(stage for entry in entries for stage in stages.made[entry.name]),
        tuple(
            Grouping(
                entry.name,
                tuple(stage.name for stage in stages.made[entry.name]),
                entry.keys.keep,
                entry.keys.losers,
            )
            for entry in entries
        ),
        keys.max_parallel or 0,
        keys.fail_fast,
        tuple(overrides),
    )


def _read_top(
    path: Path, overrides: Sequence[str]
) -> tuple[Document, PipelineKeys | None, list[Problem]]:
    """Return the document, its keys at the top and their problems. Raises SpecError."""
    document = read_document(path)
    present = set(mapping_or_empty(document.value))
    if JOB in present and not present & {"pipeline", PIPELINE}:
        what = "this is the spec of one job, not a pipeline"
        fix = f"`tuner validate {quote(str(path))}` checks it; a pipeline names jobs, below jobs:"
        raise SpecError([Problem(str(path), 0, 0, what, fix, "no-pipeline")])
    document = apply_overrides(document, overrides)
    document = document._replace(value=_without_empty_keys(document.value))
    value = document.value if isinstance(document.value, dict) else {}
    jobs = value.get("jobs")
    top = document._replace(value=value | ({"jobs": []} if "jobs" in value else {}))
    keys, problems = check_section(PipelineKeys, top)
    problems = [*document.problems, *problems]
    if "jobs" in value and (not isinstance(jobs, list) or not jobs):
        what = f"jobs must be a list of jobs, not {described(jobs) if jobs else 'nothing'}"
        fix = "write each job on its own line, beginning with -, e.g. - quickstart.yaml"
        problems.append(document.problem(("jobs",), what, fix, "wrong-type"))
        return document, None, problems
    if keys is None and "jobs" in value:
        keys = PipelineKeys("unnamed", ())
    return document, keys, problems


def _without_empty_keys(value: Any) -> Any:
    """An empty key counts as not written, except in ``set`` and ``list``, where it clears a key."""
    given = drop_empty_keys(value)
    jobs = [mapping_or_empty(entry) for entry in list_or_empty(mapping_or_empty(value).get("jobs"))]
    for entry, kept in zip(jobs, list_or_empty(mapping_or_empty(given).get("jobs")), strict=True):
        if entry.get("set"):
            kept["set"] = entry["set"]
        if variants := list_or_empty(mapping_or_empty(entry.get("matrix")).get("list")):
            kept["matrix"]["list"] = variants
    return given


def _reported(document: Document, problems: list[Problem]) -> list[Problem]:
    """Errors first, the pipeline's before its specs'; one problem for a value that is no value."""
    known = {problem.where for problem in document.problems}
    others = [each for each in problems if each.where not in known]
    kept = drop_implied_problems(dict.fromkeys([*document.problems, *others]))
    path = str(document.path)
    return sorted(kept, key=lambda each: (each.severity, each.path != path, each))


class _Stages:
    """Turns entries into stages, in the order of ``after``; reads the same data once."""

    def __init__(
        self, entries: list[Entry], extra: ExtraChecks, target: TargetConfig | None
    ) -> None:
        self.made: dict[str, list[Stage]] = {}
        self._entries = {entry.name: entry for entry in entries}
        self._extra = extra
        self._more_keys = {"target": _target_keys(target)} if target else {}
        self._problems: list[Problem] = []
        self._materials: dict[tuple[object, ...], tuple[Path, SpecData]] = {}

    def make(self, *, are_valid: bool) -> list[Problem]:
        """Make all stages; rules between stages are checked if the entries ``are_valid``."""
        try:
            sorter = TopologicalSorter({n: each.keys.after for n, each in self._entries.items()})
            order = [self._entries[name] for name in sorter.static_order() if name in self._entries]
        except CycleError as error:
            return [self._cycle(list(reversed(error.args[1]))[:-1])]
        for entry in order:
            made = self.made[entry.name] = []
            for variant in entry.variants:
                try:
                    made.append(self._stage(entry, variant))
                except InvalidInput as error:
                    self._problems += error.problems
        if are_valid and not self._problems:
            entries = self._entries.values()
            self._problems = [p for entry in entries for p in _not_comparable(entry, self.made)]
            self._problems += _same_model_twice(entries, self.made)
        return list(dict.fromkeys(self._problems))

    def _cycle(self, circle: list[str]) -> Problem:
        start = circle.index(min(circle, key=list(self._entries).index))
        circle = [*circle[start:], *circle[: start + 1]]
        what = f"{circle[0]} would wait for itself: {' after '.join(circle)}"
        fix = "remove one of these from after"
        return self._entries[circle[0]].document.problem(("after",), what, fix, "cycle")

    def _stage(self, entry: Entry, variant: Variant) -> Stage:
        document = entry.changed(entry.base, variant.settings)
        earlier = self._earlier(entry, document)
        source = self._source(entry, earlier) if earlier else ""
        more = {"tuned_model_source": source} if source else {}
        value = {**mapping_or_empty(document.value), **self._more_keys, **more}
        partial = partial_spec_of(document._replace(value=value))
        work = build_prepared_job(
            partial, self._material(partial), self._extra, is_on_disk=entry.is_on_disk
        )
        settings = (*entry.changes, *variant.settings)
        overrides = [_as_override(each.dotted, each.value) for each in settings]
        is_known = source and not source.startswith(_UNKNOWN)
        if is_known:
            overrides.append(_as_override("tuned_model_source", source))
        here = work.spec.target.where
        there = {stage.work.spec.target.where for stage in self.made.get(earlier, ())} - {here}
        if there:
            what = f"{earlier} is tuned at {min(there)}, and this at {here}: models cannot move"
            self._problems.append(_in_after(entry, what, "use the same target in both"))
        return Stage(
            name=entry.stage(variant),
            label=variant.label,
            work=work,
            after=entry.keys.after,
            source="" if is_known else earlier,
            grouping=entry.name,
            overrides=tuple(overrides),
        )

    def _material(self, partial: PartialSpec) -> SpecData:
        """The same examples for all stages with the same data; problems are reported for each file."""
        evaluation, path = partial.evaluation, partial.document.path
        rows = evaluation and replace(
            evaluation, metric=MetricSpec(), base_instruction="", require=GateSpec()
        )
        base = partial.spec.base_model if partial.spec else ""
        key = (partial.training_data, rows, limits_of(partial), base)
        known = self._materials.get(key)
        if known is None or (known[1].problems and known[0] != path):
            known = self._materials[key] = path, read_data(partial, extra=self._extra)
        return known[1]

    def _earlier(self, entry: Entry, document: Document) -> str:
        keys, after = mapping_or_empty(document.value), entry.keys.after
        base, given = keys.get("base_model"), keys.get("tuned_model_source")
        if isinstance(given, str) and given.startswith(CHAINED):
            name = given.removeprefix(CHAINED)
            if name not in after:
                fix = f"add after: [{name}]" if name in self._entries else "name one of after"
                what = f"{given} is not among the jobs in after"
                at = ("tuned_model_source",)
                raise InvalidInput([document.problem(at, what, fix, "no-source")])
            return name
        if base is not None or given is not None or not after:
            return ""
        if len(after) > 1:
            what = "after names several jobs: which one's model is tuned further?"
            fix = f"tuned_model_source: {CHAINED}{after[0]}"
            fix = f"add set: {{{fix}}}" if entry.is_on_disk else f"add {fix}"
            raise InvalidInput([_in_after(entry, what, fix)])
        return after[0]

    def _source(self, entry: Entry, name: str) -> str:
        """The model of an earlier entry, or a placeholder as long as it is unknown."""
        earlier, stages = self._entries.get(name), self.made.get(name)
        if not earlier or not stages:
            return f"{_UNKNOWN}{names.slug(name)}"
        if earlier.has_matrix and earlier.keys.keep != "best":
            what = f"{name} keeps all its variants: which one's model is tuned further?"
            self._problems.append(_in_after(entry, what, f"write keep: best in {name}"))
        if earlier.has_matrix or stages[0].source:
            return f"{_UNKNOWN}{names.slug(name)}"
        return new_tuned_model(stages[0].work).name


def _in_after(entry: Entry, what: str, fix: str) -> Problem:
    return entry.document.problem(("after",), what, fix, "no-source", key=True)


def _as_override(dotted: str, value: Value) -> str:
    text = json.dumps(value, ensure_ascii=False).replace("$", "$$")
    return f"{dotted}={text}"


def _not_comparable(entry: Entry, made: dict[str, list[Stage]]) -> Iterator[Problem]:
    """The best can only be selected among models scored on the same rows by the same metric."""
    if entry.keys.keep != "best":
        return
    works = [stage.work for stage in made[entry.name]]
    evaluations = [work.spec.evaluation for work in works]
    what = ""
    if not all(evaluations):
        what = "keep: best needs held-out rows to compare the variants"
        fix = "add evaluation: with holdout: 0.1 to the spec, or write keep: all"
    elif len({each.metric for each in evaluations if each}) > 1:
        what = "keep: best needs one metric, and the variants use several"
        fix = "remove evaluation.metric from the matrix, or write keep: all"
    elif len({tuple(row.output for row in work.holdout) for work in works}) > 1:
        what = "keep: best needs the same held-out rows, and those of the variants differ"
        fix = "name them in evaluation.path, or write keep: all"
    if what:
        yield entry.document.problem(("keep",), what, fix, "not-comparable")


def _same_model_twice(
    entries: Collection[Entry], made: dict[str, list[Stage]]
) -> Iterator[Problem]:
    """Two jobs with the same model would overwrite each other's permissions."""
    seen: dict[tuple[str, ...], Stage] = {}
    for entry in entries:
        for stage, variant in zip(made[entry.name], entry.variants, strict=True):
            model = (stage.work.spec.target.where, new_tuned_model(stage.work).name, stage.source)
            if model not in seen:
                seen[model] = stage
                continue
            at = variant.settings[-1].where if variant.settings else ()
            what = f"{stage.name} tunes the same as {seen[model].name}"
            fix = "remove one of them"
            if stage.work.spec.tuned_model_id:
                what = f"{stage.name} would have the id {model[1]}, as {seen[model].name} has"
                fix = "leave tuned_model_id out: then each gets its own id"
            elif stage.grouping == seen[model].grouping:
                what += ": the matrix changes nothing that is tuned"
            yield entry.document.problem(at, what, fix, "same-twice")


def _target_keys(target: TargetConfig) -> dict[str, Value]:
    """The keys of ``target:``; its file is relative to the working directory."""
    fields = {key: value for key, value in asdict(target).items() if value}
    if target.credentials_file:
        fields["credentials_file"] = str(Path(target.credentials_file).absolute())
    return fields
