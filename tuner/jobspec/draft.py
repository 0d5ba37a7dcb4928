"""A spec file read as far as it can be, with everything that is wrong in it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tuner.data.memory import NAME
from tuner.jobspec.keys import Evaluation, JobSpec, TrainingData
from tuner.jobspec.reading import read
from tuner.jobspec.rules import broken_rules
from tuner.yaml_source.document import read_document
from tuner.yaml_source.overrides import override

MEMORY = Path(NAME)
"""The path of examples that stand in no file."""

_Part = TypeVar("_Part", TrainingData, Evaluation)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tuner.errors import Problem
    from tuner.jobspec.reading import Fault
    from tuner.types import TargetConfig
    from tuner.yaml_source.document import Document


class Draft(NamedTuple):
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
    evaluation: Evaluation | None
    problems: tuple[Problem, ...]


def read_draft(
    given: Path | Mapping[str, Any], overrides: Sequence[str] = (), *, in_memory: bool = False
) -> Draft:
    """Read a job spec as far as it goes.

    Args:
        given: A spec file, or a dict with the keys of one.
        overrides: As ``--set``.
        in_memory: Whether the examples are in memory, and ``training_data.path`` stands for nothing.

    Raises:
        SpecError: The file is no YAML at all.
    """
    return draft_of(override(_document(given), overrides), in_memory=in_memory)


def draft_of(document: Document, *, in_memory: bool = False) -> Draft:
    """As ``read_draft``, of a document that was read already."""
    value = given_keys(document.value)
    document = document._replace(value={} if value is None else value)
    if in_memory:
        return _of_memory(_draft(_with_path(document)))
    return _draft(document)


def _draft(document: Document) -> Draft:
    spec, faults = read(JobSpec, document.value)
    known = {problem.where for problem in document.problems}
    others = {*_complaints(document, faults), *broken_rules(document)}
    problems = {*document.problems, *(each for each in others if each.where not in known)}
    if not problems:
        spec = _at(spec, document.path)
        return Draft(document, spec, spec.training_data, spec.evaluation, ())
    data = _part(TrainingData, document, "training_data")
    evaluation = _part(Evaluation, document, "evaluation")
    return Draft(document, None, data, evaluation, tuple(sorted(once(problems))))


def _with_path(document: Document) -> Document:
    """``document`` with the path that it need not have."""
    value = document.value
    data = value.get("training_data", {}) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(data, dict):
        return document
    return document._replace(value=value | {"training_data": data | {"path": MEMORY.name}})


def _of_memory(draft: Draft) -> Draft:
    """``draft`` with the name of what is in memory where the path of a file would be."""
    if draft.training_data is None:
        return draft
    data = replace(draft.training_data, paths=(MEMORY,))
    spec = draft.spec and replace(draft.spec, training_data=data)
    return draft._replace(spec=spec, training_data=data)


def _document(given: Path | Mapping[str, Any]) -> Document:
    if isinstance(given, Path):
        return read_document(given)
    from tuner.yaml_source.mapping import document_of

    return document_of(given)


def _complaints(document: Document, faults: list[Fault]) -> list[Problem]:
    if not faults:
        return []
    from tuner.jobspec.complaints import complaints

    return complaints(document, JobSpec, faults)


def once(problems: Iterable[Problem]) -> list[Problem]:
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
    part, _ = read(cls, value)
    return part and _placed(part, document.path)


def given_keys(value: Any) -> Any:
    """``value`` without the keys that were left empty: they count as not written."""
    if isinstance(value, dict):
        return {key: given_keys(item) for key, item in value.items() if item is not None}
    return [given_keys(item) for item in value] if isinstance(value, list) else value


def _at(spec: JobSpec, path: Path) -> JobSpec:
    """``spec`` with paths that can be opened from here."""
    return replace(
        spec,
        path=path,
        target=_near(spec.target, path),
        training_data=_placed(spec.training_data, path),
        evaluation=spec.evaluation and _evaluation(spec.evaluation, path),
    )


def _evaluation(evaluation: Evaluation, spec: Path) -> Evaluation:
    metric = evaluation.metric
    if metric.target:
        evaluation = replace(evaluation, metric=replace(metric, target=_near(metric.target, spec)))
    return _placed(evaluation, spec)


def _near(target: TargetConfig, spec: Path) -> TargetConfig:
    if not target.credentials_file:
        return target
    return replace(target, credentials_file=str(beside(spec, Path(target.credentials_file))))


def _placed(part: _Part, spec: Path) -> _Part:
    return replace(part, paths=tuple(beside(spec, path) for path in part.paths))


def beside(spec: Path, path: Path) -> Path:
    """``path`` as seen from where ``spec`` is: ``configs/../datasets/a.csv`` is ``datasets/a.csv``."""
    return Path(os.path.normpath(spec.parent / os.path.expanduser(path)))  # noqa: PTH111 -- Path's raises
