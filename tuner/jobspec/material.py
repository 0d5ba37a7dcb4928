"""The examples of a spec: read, checked, parted, and given their instruction."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.data import Columns, Source, read
from tuner.data.checks.check import Checks, capped
from tuner.data.holdout import choose, split
from tuner.data.memory import batches
from tuner.data.sources import absent, is_readable, matching
from tuner.examples import Example, Examples
from tuner.targets import TARGETS
from tuner.types import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from tuner.data import Batch
    from tuner.errors import Problem
    from tuner.jobspec.draft import Draft
    from tuner.jobspec.keys import JobSpec, TrainingData

    Look: TypeAlias = Callable[[Batch], Iterable[Problem]]

_NO_LIMITS = Limits(None, None, None)


class Material(NamedTuple):
    """The examples on both sides, and every problem with the files they come from."""

    examples: Sequence[Example] = ()
    holdout: tuple[Example, ...] = ()
    problems: tuple[Problem, ...] = ()


def read_material(
    draft: Draft, examples: Any = None, looks: Callable[[JobSpec], Look] | None = None
) -> Material:
    """Read the data of a spec, as far as it says where they are.

    Problems with a file that is not there are located in the spec, others in the file.
    ``examples``, a DataFrame or a sequence of Examples or pairs, are read in place of a file.
    ``looks`` makes of a spec one more look at every batch, of which this half of the house cannot
    know: at tokens, as the engine counts them.
    """
    data = draft.training_data
    if data is None:
        return Material()
    limits = replace(limits_of(draft), request_bytes=None)  # it depends on the rows held out
    checks = Checks(limits, data.instruction, data.ignore)
    extra = looks(draft.spec) if looks and draft.spec else _nothing
    rows, problems = _given(draft, data, examples, _both(checks.train, extra))
    held: Sequence[Example] = ()
    parted: Sequence[Example] = ()
    evaluation = draft.evaluation
    if evaluation and evaluation.paths:
        source = replace(data, paths=evaluation.paths, format="auto")
        held, more = _read(draft, source, ("evaluation", "path"), _both(checks.held, extra))
        problems += more
    elif evaluation and evaluation.holdout is not None:
        parted = tuple(rows)
        rows, held = split(parted, evaluation.holdout, stratify=evaluation.stratify)
        problems += _one_sided(draft, rows, held)
    if rows or held or not problems:
        problems += _capped(draft, checks.finish())
    if evaluation and not evaluation.paths and "near-leak" not in data.ignore:
        problems += _too_kind(draft, parted, held, checks.alike)
    if evaluation and evaluation.max_examples:
        held = choose(held, evaluation.max_examples)
    if data.instruction:
        rows = tuple(instructed(rows, data.instruction))
    return Material(rows, tuple(instructed(held, data.instruction)), tuple(problems))


def instructed(examples: Sequence[Example], instruction: str) -> Iterator[Example]:
    """The examples with the instruction and a blank line in front of every text_input."""
    prefix = f"{instruction}\n\n" if instruction else ""
    for each in examples:
        yield Example(prefix + each.text_input, each.output, each.line)


def limits_of(draft: Draft) -> Limits:
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
    draft: Draft, data: TrainingData, examples: Any, look: Look
) -> tuple[Sequence[Example], list[Problem]]:
    """What is to be tuned on and evaluated with, from memory or from its files."""
    if examples is None:
        return _read(draft, data, ("training_data", "path"), look)
    return _looked_at(draft, batches(examples, Columns(data.text_input, data.output)), look)


def _read(
    draft: Draft, data: TrainingData, at: tuple[str, str], look: Look
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
    draft: Draft, batches: Iterable[Batch], look: Look
) -> tuple[Sequence[Example], list[Problem]]:
    rows = Examples()

    def problems() -> Iterator[Problem]:
        for batch in batches:
            rows.add(batch.text_inputs, batch.outputs, batch.lines)
            yield from look(batch)

    return rows, _capped(draft, problems())


def _both(look: Look, more: Look) -> Look:
    return lambda batch: chain(look(batch), more(batch))


def _nothing(_: Batch) -> Iterable[Problem]:
    return ()


def _capped(draft: Draft, problems: Iterable[Problem]) -> list[Problem]:
    return capped(problems, f"`tuner data check {draft.document.path} -o json` lists all of them")


def _too_kind(
    draft: Draft, rows: Sequence[Example], held: Sequence[Example], alike: Iterable[tuple[int, int]]
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


def _one_sided(draft: Draft, rows: Sequence[Example], held: Sequence[Example]) -> Iterator[Problem]:
    if bool(rows) == bool(held):
        return
    what = "holdout leaves no row to tune on" if held else "holdout leaves no row to evaluate with"
    fix = f"choose a {'smaller' if held else 'larger'} share, or add rows to the file"
    yield draft.document.problem(("evaluation", "holdout"), what, fix, "empty-side")
