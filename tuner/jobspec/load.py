"""Read a spec as far as possible, with everything that is wrong in it, and its examples."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tuner.data import Columns, Source, read
from tuner.data.checks import Checks
from tuner.data.checks.report import capped
from tuner.data.frame import IN_MEMORY_NAME, batches
from tuner.data.holdout import choose, split
from tuner.data.sources import absent, is_readable, matching
from tuner.examples import Example, Examples
from tuner.jobspec.messages import check_section
from tuner.jobspec.rules import broken_rules
from tuner.jobspec.schema import EvaluationSpec, JobSpec, TrainingData
from tuner.targets import TARGETS
from tuner.types import Limits
from tuner.yaml_source import apply_overrides, document_from_mapping, read_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from tuner.data import Batch
    from tuner.errors import Problem
    from tuner.types import TargetConfig
    from tuner.yaml_source import Document

    BatchCheck: TypeAlias = Callable[[Batch], Iterable[Problem]]


MEMORY = Path(IN_MEMORY_NAME)
"""The path of examples that stand in no file."""

_Part = TypeVar("_Part", TrainingData, EvaluationSpec)


class PartialSpec(NamedTuple):
    """What could be read of a spec.

    Attributes:
        document: The file.
        spec: None when there are problems.
        training_data: None when just this part is wrong.
        evaluation: None when just this part is wrong, or not there.
        problems: Everything that is wrong, in the order of the file.
    """

    document: Document
    spec: JobSpec | None
    training_data: TrainingData | None
    evaluation: EvaluationSpec | None
    problems: tuple[Problem, ...]


def read_partial_spec(
    given: Path | Mapping[str, Any], overrides: Sequence[str] = (), *, in_memory: bool = False
) -> PartialSpec:
    """Read a job spec as far as it goes.

    Args:
        given: A spec file, or a dict with the keys of one.
        overrides: As ``--set``.
        in_memory: Whether the examples are in memory, and ``training_data.path`` stands for nothing.

    Raises:
        SpecError: The file is no YAML at all.
    """
    return partial_spec_of(apply_overrides(_document(given), overrides), in_memory=in_memory)


def partial_spec_of(document: Document, *, in_memory: bool = False) -> PartialSpec:
    """As ``read_partial_spec``, of a document that was read already."""
    value = drop_empty_keys(document.value)
    document = document._replace(value={} if value is None else value)
    if in_memory:
        return _of_memory(_draft(_with_path(document)))
    return _draft(document)


def _draft(document: Document) -> PartialSpec:
    spec, faults = check_section(JobSpec, document)
    known = {problem.where for problem in document.problems}
    others = {*faults, *broken_rules(document)}
    problems = {*document.problems, *(each for each in others if each.where not in known)}
    if not problems:
        spec = _at(spec, document.path)
        return PartialSpec(document, spec, spec.training_data, spec.evaluation, ())
    data = _part(TrainingData, document, "training_data")
    evaluation = _part(EvaluationSpec, document, "evaluation")
    return PartialSpec(
        document, None, data, evaluation, tuple(sorted(drop_implied_problems(problems)))
    )


def _with_path(document: Document) -> Document:
    """``document`` with the path that it need not have."""
    value = document.value
    data = value.get("training_data", {}) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(data, dict):
        return document
    return document._replace(value=value | {"training_data": data | {"path": MEMORY.name}})


def _of_memory(draft: PartialSpec) -> PartialSpec:
    """``draft`` with the name of what is in memory where the path of a file would be."""
    if draft.training_data is None:
        return draft
    data = replace(draft.training_data, paths=(MEMORY,))
    spec = draft.spec and replace(draft.spec, training_data=data)
    return draft._replace(spec=spec, training_data=data)


def _document(given: Path | Mapping[str, Any]) -> Document:
    if isinstance(given, Path):
        return read_document(given)
    return document_from_mapping(given)


def drop_implied_problems(problems: Iterable[Problem]) -> list[Problem]:
    """A key that is misspelt is not missing as well."""
    problems = list(problems)
    hints = {problem.fix for problem in problems if problem.rule == "unknown-key"}
    return [
        problem
        for problem in problems
        if problem.rule != "missing-key" or f"did you mean {problem.what.split()[0]}?" not in hints
    ]


def _part(cls: type, document: Document, key: str) -> Any:
    value = document.value.get(key) if isinstance(document.value, dict) else None
    part, _ = check_section(cls, document._replace(value=value))
    return part and _placed(part, document.path)


def drop_empty_keys(value: Any) -> Any:
    """``value`` without the keys that were left empty: they count as not written."""
    if isinstance(value, dict):
        return {key: drop_empty_keys(item) for key, item in value.items() if item is not None}
    return [drop_empty_keys(item) for item in value] if isinstance(value, list) else value


def _at(spec: JobSpec, path: Path) -> JobSpec:
    """``spec`` with paths that can be opened from here."""
    return replace(
        spec,
        path=path,
        target=_near(spec.target, path),
        training_data=_placed(spec.training_data, path),
        evaluation=spec.evaluation and _evaluation(spec.evaluation, path),
    )


def _evaluation(evaluation: EvaluationSpec, spec: Path) -> EvaluationSpec:
    metric = evaluation.metric
    if metric.target:
        evaluation = replace(evaluation, metric=replace(metric, target=_near(metric.target, spec)))
    return _placed(evaluation, spec)


def _near(target: TargetConfig, spec: Path) -> TargetConfig:
    if not target.credentials_file:
        return target
    return replace(
        target, credentials_file=str(resolve_beside(spec, Path(target.credentials_file)))
    )


def _placed(part: _Part, spec: Path) -> _Part:
    return replace(part, paths=tuple(resolve_beside(spec, path) for path in part.paths))


def resolve_beside(spec: Path, path: Path) -> Path:
    """``path`` as seen from where ``spec`` is: ``configs/../datasets/a.csv`` is ``datasets/a.csv``."""
    return Path(os.path.normpath(spec.parent / os.path.expanduser(path)))  # noqa: PTH111 -- Path's raises


_NO_LIMITS = Limits(None, None, None)


class SpecData(NamedTuple):
    """The examples on both sides, and every problem with the files they come from."""

    examples: Sequence[Example] = ()
    holdout: tuple[Example, ...] = ()
    problems: tuple[Problem, ...] = ()


def read_data(
    draft: PartialSpec, examples: Any = None, looks: Callable[[JobSpec], BatchCheck] | None = None
) -> SpecData:
    """Read the data of a spec, as far as it says where they are.

    Problems with a file that is not there are located in the spec, others in the file.
    ``examples``, a DataFrame or a sequence of Examples or pairs, are read in place of a file.
    ``looks`` makes of a spec one more look at every batch, of which this half of the house cannot
    know: at tokens, as the engine counts them.
    """
    data = draft.training_data
    if data is None:
        return SpecData()
    limits = replace(limits_of(draft), request_bytes=None)  # it depends on the rows held out
    checks = Checks(limits, data.instruction, data.ignore)
    extra = looks(draft.spec) if looks and draft.spec else _nothing
    rows, problems = _given(draft, data, examples, _both(checks.check_training, extra))
    held: Sequence[Example] = ()
    parted: Sequence[Example] = ()
    evaluation = draft.evaluation
    if evaluation and evaluation.paths:
        source = replace(data, paths=evaluation.paths, format="auto")
        held, more = _read(
            draft, source, ("evaluation", "path"), _both(checks.check_held_out, extra)
        )
        problems += more
    elif evaluation and evaluation.holdout is not None:
        parted = tuple(rows)
        rows, held = split(parted, evaluation.holdout, stratify=evaluation.stratify)
        problems += _one_sided(draft, rows, held)
    if rows or held or not problems:
        problems += _capped(draft, checks.finish())
    if evaluation and not evaluation.paths and "near-leak" not in data.ignore:
        problems += _too_kind(draft, parted, held, checks.similar_pairs)
    if evaluation and evaluation.max_examples:
        held = choose(held, evaluation.max_examples)
    if data.instruction:
        rows = tuple(with_instruction(rows, data.instruction))
    return SpecData(rows, tuple(with_instruction(held, data.instruction)), tuple(problems))


def with_instruction(examples: Sequence[Example], instruction: str) -> Iterator[Example]:
    """The examples with the instruction and a blank line in front of every text_input."""
    prefix = f"{instruction}\n\n" if instruction else ""
    for each in examples:
        yield Example(prefix + each.text_input, each.output, each.line)


def limits_of(draft: PartialSpec) -> Limits:
    """What the target of a spec takes, as far as the spec says which it is."""
    value = draft.document.value
    target = value.get("target", "local") if isinstance(value, dict) else None
    kind = target.get("kind", "local") if isinstance(target, dict) else target
    return TARGETS[kind].limits if isinstance(kind, str) and kind in TARGETS else _NO_LIMITS


def source_of(data: TrainingData) -> Source:
    """Which files to read, and how."""
    columns = Columns(data.text_input, data.output)
    return Source(data.paths, columns, data.format, data.encoding, data.multi_turn)


def _given(
    draft: PartialSpec, data: TrainingData, examples: Any, look: BatchCheck
) -> tuple[Sequence[Example], list[Problem]]:
    """What is to be tuned on and evaluated with, from memory or from its files."""
    if examples is None:
        return _read(draft, data, ("training_data", "path"), look)
    return _looked_at(draft, batches(examples, Columns(data.text_input, data.output)), look)


def _read(
    draft: PartialSpec, data: TrainingData, at: tuple[str, str], look: BatchCheck
) -> tuple[Sequence[Example], list[Problem]]:
    missing = [
        draft.document.problem(
            (*at, index) if len(data.paths) > 1 else at, *absent(path), "no-file"
        )
        for index, path in enumerate(data.paths)
        if not any(map(is_readable, matching(path)))
    ]
    if missing:
        return (), missing
    return _looked_at(draft, read(source_of(data)), look)


def _looked_at(
    draft: PartialSpec, batches: Iterable[Batch], look: BatchCheck
) -> tuple[Sequence[Example], list[Problem]]:
    rows = Examples()

    def problems() -> Iterator[Problem]:
        for batch in batches:
            rows.add(batch.text_inputs, batch.outputs, batch.lines)
            yield from look(batch)

    return rows, _capped(draft, problems())


def _both(look: BatchCheck, more: BatchCheck) -> BatchCheck:
    return lambda batch: chain(look(batch), more(batch))


def _nothing(_: Batch) -> Iterable[Problem]:
    return ()


def _capped(draft: PartialSpec, problems: Iterable[Problem]) -> list[Problem]:
    return capped(problems, f"`tuner data check {draft.document.path} -o json` lists all of them")


def _too_kind(
    draft: PartialSpec,
    rows: Sequence[Example],
    held: Sequence[Example],
    alike: Iterable[tuple[int, int]],
) -> Iterator[Problem]:
    """How many rows are held out that are nearly the same as one tuned on."""
    known = set(map(id, held))
    is_held = [id(row) in known for row in rows]
    found = {
        one if is_held[one] else other for one, other in alike if is_held[one] != is_held[other]
    }
    if found:
        what = (
            f"{len(found):,} of the {len(held):,} rows held out are nearly the same as one tuned on"
        )
        fix = "drop them first: `tuner data dedupe --near 0.8`; or else the evaluation is too kind"
        problem = draft.document.problem(("evaluation", "holdout"), what, fix, "near-leak")
        yield replace(problem, severity="warning")


def _one_sided(
    draft: PartialSpec, rows: Sequence[Example], held: Sequence[Example]
) -> Iterator[Problem]:
    if bool(rows) == bool(held):
        return
    what = "holdout leaves no row to tune on" if held else "holdout leaves no row to evaluate with"
    fix = f"choose a {'smaller' if held else 'larger'} share, or add rows to the file"
    yield draft.document.problem(("evaluation", "holdout"), what, fix, "empty-side")
