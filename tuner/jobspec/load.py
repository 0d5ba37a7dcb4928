"""Read a spec as far as possible, with every error in it, and the examples it names."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import ValidationError

from tuner.data.checks import Checks
from tuner.data.checks.report import capped
from tuner.data.dataset import Columns, Source, explain_missing, is_readable, matching, read
from tuner.data.frame import IN_MEMORY_NAME, batches
from tuner.data.holdout import choose, split
from tuner.jobspec.messages import check_section, read_section
from tuner.jobspec.rules import broken_rules
from tuner.jobspec.schema import EvaluationSpec, JobSpec, MetricSpec, TrainingData
from tuner.targets import TARGETS
from tuner.types import Example, Limits
from tuner.yaml_source import (
    apply_overrides,
    document_from_mapping,
    mapping_or_empty,
    read_document,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from tuner.data.dataset import Batch
    from tuner.errors import Problem
    from tuner.types import TargetConfig
    from tuner.yaml_source import Document, KeyPath

    BatchCheck: TypeAlias = Callable[[Batch], Iterable[Problem]]

_Part = TypeVar("_Part", TrainingData, EvaluationSpec)

MEMORY = Path(IN_MEMORY_NAME)
"""The path of examples that are in memory."""
_NO_LIMITS = Limits(None, None, None)


class PartialSpec(NamedTuple):
    """What could be read of a spec: the spec and its sections are None where they have problems."""

    document: Document
    spec: JobSpec | None
    training_data: TrainingData | None
    evaluation: EvaluationSpec | None
    problems: tuple[Problem, ...]


class SpecData(NamedTuple):
    """The examples to tune on and to evaluate with, and every problem with their files."""

    examples: Sequence[Example] = ()
    holdout: tuple[Example, ...] = ()
    problems: tuple[Problem, ...] = ()


class ExtraChecks(NamedTuple):
    """Checks that need other packages: of a spec's examples, and of a metric."""

    rows: Callable[[JobSpec], BatchCheck] | None = None
    metric: Callable[[MetricSpec, Path], Iterable[tuple[str, str]]] | None = None


NO_EXTRA_CHECKS = ExtraChecks()


def read_partial_spec(
    given: Path | Mapping[str, Any], overrides: Sequence[str] = (), *, in_memory: bool = False
) -> PartialSpec:
    """Read a spec file, or a dict with its keys; ``overrides`` are as for ``--set``.

    With ``in_memory``, ``training_data.path`` is ignored. Raises SpecError if the file is not YAML.
    """
    document = read_document(given) if isinstance(given, Path) else document_from_mapping(given)
    return partial_spec_of(apply_overrides(document, overrides), in_memory=in_memory)


def partial_spec_of(document: Document, *, in_memory: bool = False) -> PartialSpec:
    """As ``read_partial_spec``, from a document."""
    value = drop_empty_keys(document.value)
    document = document._replace(value={} if value is None else value)
    if in_memory:
        document = _with_memory_path(document)
    spec, found = check_section(JobSpec, document)
    own = {problem.where for problem in document.problems}
    others = {problem for problem in (*found, *broken_rules(document)) if problem.where not in own}
    problems = drop_implied_problems({*document.problems, *others})
    spec = None if problems else spec
    data = spec.training_data if spec else _section(TrainingData, document, "training_data")
    evaluation = spec.evaluation if spec else _section(EvaluationSpec, document, "evaluation")
    if data:
        data = replace(data, paths=(MEMORY,)) if in_memory else _with_paths(data, document.path)
    evaluation = evaluation and _with_paths(evaluation, document.path)
    if evaluation and evaluation.metric.target:
        target = _with_credentials(evaluation.metric.target, document.path)
        evaluation = replace(evaluation, metric=replace(evaluation.metric, target=target))
    if spec and data:
        target = _with_credentials(spec.target, document.path)
        spec = replace(
            spec, path=document.path, target=target, training_data=data, evaluation=evaluation
        )
    return PartialSpec(document, spec, data, evaluation, tuple(sorted(problems)))


def drop_empty_keys(value: Any) -> Any:
    """Return ``value`` without the keys that were left empty: they count as not written."""
    if isinstance(value, dict):
        return {key: drop_empty_keys(item) for key, item in value.items() if item is not None}
    return [drop_empty_keys(item) for item in value] if isinstance(value, list) else value


def drop_implied_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Drop the missing keys that are only misspelt."""
    problems = list(problems)
    fixes = {problem.fix for problem in problems if problem.rule == "unknown-key"}
    return [
        problem
        for problem in problems
        if problem.rule != "missing-key" or f"did you mean {problem.what.split()[0]}?" not in fixes
    ]


def resolve_beside(spec: Path, path: Path) -> Path:
    """Resolve a path of a spec: ``configs/../datasets/a.csv`` is ``datasets/a.csv``."""
    return Path(os.path.normpath(spec.parent / os.path.expanduser(path)))  # noqa: PTH111 -- Path's raises


def read_data(
    partial: PartialSpec, examples: Any = None, extra: ExtraChecks = NO_EXTRA_CHECKS
) -> SpecData:
    """Read and check the data of a spec, as far as the spec says where they are.

    A missing file is located in the spec, other problems in the file. ``examples``, a DataFrame or
    a sequence of Examples or pairs, replace the file.
    """
    data, evaluation = partial.training_data, partial.evaluation
    if data is None:
        return SpecData()
    limits = replace(limits_of(partial), request_bytes=None)  # it depends on the rows held out
    checks = Checks(limits, data.instruction, data.ignore)
    more = extra.rows(partial.spec) if extra.rows and partial.spec else lambda _: ()
    if examples is None:
        at: KeyPath = ("training_data", "path")
        rows, problems = _read_files(partial, data, at, checks.check_training, more)
    else:
        columns = Columns(data.text_input, data.output)
        rows, problems = _read_batches(
            partial, batches(examples, columns), checks.check_training, more
        )
    held: Sequence[Example] = ()
    both: Sequence[Example] = ()
    if evaluation and evaluation.paths:
        source = replace(data, paths=evaluation.paths, format="auto")
        at = ("evaluation", "path")
        held, found = _read_files(partial, source, at, checks.check_held_out, more)
        problems += found
    elif evaluation and evaluation.holdout is not None:
        both = tuple(rows)
        rows, held = split(both, evaluation.holdout, stratify=evaluation.stratify)
        problems += _empty_side(partial, rows, held)
    if rows or held or not problems:
        problems += _capped(partial, checks.finish())
    if evaluation and not evaluation.paths and "near-leak" not in data.ignore:
        problems += _near_leak(partial, both, held, checks.similar_pairs)
    if evaluation and evaluation.max_examples:
        held = choose(held, evaluation.max_examples)
    if data.instruction:
        rows = tuple(with_instruction(rows, data.instruction))
    return SpecData(rows, tuple(with_instruction(held, data.instruction)), tuple(problems))


def with_instruction(examples: Sequence[Example], instruction: str) -> Iterator[Example]:
    """Yield the examples with the instruction and a blank line in front of every text_input."""
    prefix = f"{instruction}\n\n" if instruction else ""
    for each in examples:
        yield Example(prefix + each.text_input, each.output, each.line)


def limits_of(partial: PartialSpec) -> Limits:
    """Return the limits of a spec's target, as far as the spec says which it is."""
    target = mapping_or_empty(partial.document.value).get("target", "local")
    kind = mapping_or_empty(target).get("kind", "local") if isinstance(target, dict) else target
    return TARGETS[kind].limits if isinstance(kind, str) and kind in TARGETS else _NO_LIMITS


def source_of(data: TrainingData) -> Source:
    """Return which files to read, and how."""
    columns = Columns(data.text_input, data.output)
    return Source(data.paths, columns, data.format, data.encoding, data.multi_turn)


def _with_memory_path(document: Document) -> Document:
    value = document.value
    data = value.get("training_data", {}) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(data, dict):
        return document
    return document._replace(value=value | {"training_data": data | {"path": MEMORY.name}})


def _section(cls: type[_Part], document: Document, key: str) -> _Part | None:
    with suppress(ValidationError):
        return read_section(cls, mapping_or_empty(document.value).get(key))
    return None


def _with_paths(section: _Part, spec: Path) -> _Part:
    return replace(section, paths=tuple(resolve_beside(spec, path) for path in section.paths))


def _with_credentials(target: TargetConfig, spec: Path) -> TargetConfig:
    if not target.credentials_file:
        return target
    path = resolve_beside(spec, Path(target.credentials_file))
    return replace(target, credentials_file=str(path))


def _read_files(
    partial: PartialSpec, data: TrainingData, at: KeyPath, *checks: BatchCheck
) -> tuple[Sequence[Example], list[Problem]]:
    missing = [
        partial.document.problem(
            (*at, index) if len(data.paths) > 1 else at, *explain_missing(path), "no-file"
        )
        for index, path in enumerate(data.paths)
        if not any(map(is_readable, matching(path)))
    ]
    if missing:
        return (), missing
    return _read_batches(partial, read(source_of(data)), *checks)


def _read_batches(
    partial: PartialSpec, batches: Iterable[Batch], *checks: BatchCheck
) -> tuple[Sequence[Example], list[Problem]]:
    rows: list[Example] = []

    def problems() -> Iterator[Problem]:
        for batch in batches:
            rows.extend(batch.examples())
            yield from chain.from_iterable(check(batch) for check in checks)

    return rows, _capped(partial, problems())


def _capped(partial: PartialSpec, problems: Iterable[Problem]) -> list[Problem]:
    path = partial.document.path
    return capped(problems, f"`tuner data check {path} -o json` lists all of them")


def _near_leak(
    partial: PartialSpec,
    rows: Sequence[Example],
    held: Sequence[Example],
    alike: Iterable[tuple[int, int]],
) -> Iterator[Problem]:
    known = set(map(id, held))
    is_held = [id(row) in known for row in rows]
    found = {
        one if is_held[one] else other for one, other in alike if is_held[one] != is_held[other]
    }
    if found:
        what = (
            f"{len(found):,} of the {len(held):,} rows held out are nearly the same as one tuned on"
        )
        fix = "drop them first: `tuner data dedupe --near 0.8`; or else the scores are too high"
        problem = partial.document.problem(("evaluation", "holdout"), what, fix, "near-leak")
        yield replace(problem, severity="warning")


def _empty_side(
    partial: PartialSpec, rows: Sequence[Example], held: Sequence[Example]
) -> Iterator[Problem]:
    if bool(rows) != bool(held):
        what = f"holdout leaves no row to {'tune on' if held else 'evaluate with'}"
        fix = f"choose a {'smaller' if held else 'larger'} share, or add rows to the file"
        yield partial.document.problem(("evaluation", "holdout"), what, fix, "empty-side")
