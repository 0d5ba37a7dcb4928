"""The entries of a pipeline made stages: every variant a job's work, chained to the one before it."""

from __future__ import annotations

import json
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner import names
from tuner.errors import InvalidInput
from tuner.jobspec.load import limits_of, partial_spec_of, read_data
from tuner.jobspec.prepared_job import build_prepared_job, new_tuned_model
from tuner.jobspec.schema import GateSpec, MetricSpec
from tuner.pipelines.keys import CHAINED
from tuner.pipelines.rules import broken_pipeline
from tuner.pipelines.spec import Grouping, Stage
from tuner.yaml_source import mapping_or_empty

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner.errors import Problem
    from tuner.jobspec.load import BatchCheck, PartialSpec, SpecData
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.jobspec.schema import JobSpec
    from tuner.pipelines.entries import Entry
    from tuner.pipelines.matrix import Variant
    from tuner.yaml_source import Document, Value

    Looks = Callable[[JobSpec], BatchCheck] | None

_UNKNOWN = "tunedModels/of-"
"""Before a grouping's name: its model, while which one is not known."""


class Expanded(NamedTuple):
    """Stages and groupings in the order of the file, or what is wrong."""

    stages: list[Stage]
    groupings: list[Grouping]
    problems: list[Problem]


def expand(entries: list[Entry], looks: Looks, *, are_well: bool = True) -> Expanded:
    """Make every variant of every entry a stage, the earlier ones of a chain first.

    How they go together is looked at only when each of them ``are_well`` by itself.
    """
    order, problems = _ordered(entries)
    if problems:
        return Expanded([], [], problems)
    maker = _Maker(entries, looks)
    for entry in order:
        maker.make(entry)
    stages = [stage for entry in entries for stage in maker.stages[entry.name]]
    groupings = [_grouping(entry, maker.stages[entry.name]) for entry in entries]
    problems = maker.problems
    if are_well and not problems:
        problems = broken_pipeline(entries, maker.stages)
    return Expanded(stages, groupings, list(dict.fromkeys(problems)))


def as_set(dotted: str, value: Value) -> str:
    """What ``--set`` takes to set this very value."""
    text = json.dumps(value, ensure_ascii=False).replace("$", "$$")
    return f"{dotted}={text}"


def _ordered(entries: list[Entry]) -> tuple[list[Entry], list[Problem]]:
    by_name = {entry.name: entry for entry in entries}
    try:
        order = TopologicalSorter({name: by_name[name].keys.after for name in by_name})
        return [by_name[name] for name in order.static_order() if name in by_name], []
    except CycleError as error:
        circle = list(reversed(error.args[1]))[:-1]
        start = circle.index(min(circle, key=list(by_name).index))
        circle = [*circle[start:], *circle[: start + 1]]
        what = f"{circle[0]} would wait for itself: {' after '.join(circle)}"
        document = by_name[circle[0]].document
        return [], [document.problem(("after",), what, "take one of these out of after", "cycle")]


def _grouping(entry: Entry, stages: list[Stage]) -> Grouping:
    keys: Any = entry.keys
    return Grouping(entry.name, tuple(stage.name for stage in stages), keys.keep, keys.losers)


class _Maker:
    """Makes stages and remembers them, for those that are chained to them; reads data once."""

    def __init__(self, entries: list[Entry], looks: Looks) -> None:
        self.stages: dict[str, list[Stage]] = {}
        self.problems: list[Problem] = []
        self._entries = {entry.name: entry for entry in entries}
        self._looks = looks
        self._materials: dict[tuple[object, ...], tuple[Path, SpecData]] = {}

    def make(self, entry: Entry) -> None:
        made = self.stages[entry.name] = []
        for variant in entry.variants:
            try:
                made.append(self._stage(entry, variant))
            except InvalidInput as error:
                self.problems += error.problems

    def _stage(self, entry: Entry, variant: Variant) -> Stage:
        document = entry.changed(entry.base, variant.settings)
        earlier = self._earlier(entry, document)
        source = self._source(entry, earlier) if earlier else ""
        if source:
            value = {**mapping_or_empty(document.value), "tuned_model_source": source}
            document = document._replace(value=value)
        draft = partial_spec_of(document)
        work = build_prepared_job(draft, self._material(draft), is_on_disk=entry.is_on_disk)
        overrides = [
            as_set(each.dotted, each.value) for each in (*entry.changes, *variant.settings)
        ]
        is_known = source and not source.startswith(_UNKNOWN)
        if is_known:
            overrides.append(as_set("tuned_model_source", source))
        if earlier:
            self._refuse_another_target(entry, earlier, work)
        return Stage(
            name=entry.stage(variant),
            label=variant.label,
            work=work,
            after=entry.keys.after,
            source="" if is_known else earlier,
            grouping=entry.name,
            overrides=tuple(overrides),
        )

    def _material(self, draft: PartialSpec) -> SpecData:
        """Stages with the same data share the very same examples; what is wrong is told of each file."""
        evaluation, path = draft.evaluation, draft.document.path
        rows = evaluation and replace(
            evaluation, metric=MetricSpec(), base_instruction="", require=GateSpec()
        )
        base = draft.spec.base_model if draft.spec else ""
        key = (draft.training_data, rows, limits_of(draft), base)
        known = self._materials.get(key)
        if known is None or (known[1].problems and known[0] != path):
            known = self._materials[key] = path, read_data(draft, looks=self._looks)
        return known[1]

    def _earlier(self, entry: Entry, document: Document) -> str:
        """The name of the entry whose model is tuned further; empty for a model named otherwise."""
        keys, after = mapping_or_empty(document.value), entry.keys.after
        base, given = keys.get("base_model"), keys.get("tuned_model_source")
        if isinstance(given, str) and given.startswith(CHAINED):
            name = given.removeprefix(CHAINED)
            if name not in after:
                fix = f"add after: [{name}]" if name in self._entries else "name one of after"
                what = f"{given} is not among those it waits for"
                problem = document.problem(("tuned_model_source",), what, fix, "no-source")
                raise InvalidInput([problem])
            return name
        if base is not None or given is not None or not after:
            return ""
        if len(after) > 1:
            what = "it waits for several: which one's model is tuned further?"
            fix = f"tuned_model_source: {CHAINED}{after[0]}"
            fix = f"add set: {{{fix}}}" if entry.is_on_disk else f"add {fix}"
            problem = entry.document.problem(("after",), what, fix, "no-source", key=True)
            raise InvalidInput([problem])
        return after[0]

    def _source(self, entry: Entry, name: str) -> str:
        """The model of an earlier entry, or what stands for it until it is known."""
        earlier, stages = self._entries.get(name), self.stages.get(name)
        if not earlier or not stages:
            return f"{_UNKNOWN}{names.slug(name)}"
        if earlier.has_matrix and earlier.keys.keep != "best":
            what = f"{name} keeps all its variants: which one's model is tuned further?"
            fix = f"write keep: best where {name} stands"
            problem = entry.document.problem(("after",), what, fix, "no-source", key=True)
            self.problems.append(problem)
        if earlier.has_matrix or stages[0].source:
            return f"{_UNKNOWN}{names.slug(name)}"
        return new_tuned_model(stages[0].work).name

    def _refuse_another_target(self, entry: Entry, name: str, work: PreparedJob) -> None:
        here = work.spec.target.where
        there = {stage.work.spec.target.where for stage in self.stages.get(name, ())} - {here}
        if there:
            what = f"{name} is tuned at {min(there)}, and this at {here}: a model stays where it is"
            fix = "name one target in both"
            problem = entry.document.problem(("after",), what, fix, "no-source", key=True)
            self.problems.append(problem)
