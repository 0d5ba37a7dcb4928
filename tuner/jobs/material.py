"""The examples of a spec: read, checked, parted, and given their instruction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.data import Columns, Source, read
from tuner.data.check import Checks, capped
from tuner.data.holdout import choose, split
from tuner.data.memory import batches
from tuner.targets import TARGETS
from tuner.types import Example, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from tuner.data import Batch
    from tuner.errors import Problem
    from tuner.jobs.draft import Draft
    from tuner.jobs.spec import TrainingData

    Look: TypeAlias = Callable[[Batch], Iterable[Problem]]

_NO_LIMITS = Limits(None, None, None)


class Material(NamedTuple):
    """The examples on both sides, and every problem with the files they come from."""

    examples: tuple[Example, ...] = ()
    holdout: tuple[Example, ...] = ()
    problems: tuple[Problem, ...] = ()


def read_material(draft: Draft, examples: Any = None) -> Material:
    """Read the data of a spec, as far as it says where they are.

    Problems with a file that is not there are located in the spec, others in the file.
    ``examples``, a DataFrame or a sequence of Examples or pairs, are read in place of a file.
    """
    data = draft.training_data
    if data is None:
        return Material()
    limits = replace(limits_of(draft), request_bytes=None)  # it depends on the rows held out
    checks = Checks(limits, data.instruction, data.ignore)
    if examples is None:
        rows, problems = _read(draft, data, ("training_data", "path"), checks.train)
    else:
        columns = Columns(data.text_input, data.output)
        rows, problems = _looked_at(draft, batches(examples, columns), checks.train)
    held: tuple[Example, ...] = ()
    evaluation = draft.evaluation
    if evaluation and evaluation.path:
        source = replace(data, path=evaluation.path, format="auto")
        held, more = _read(draft, source, ("evaluation", "path"), checks.held)
        problems += more
    elif evaluation and evaluation.holdout is not None:
        rows, held = split(rows, evaluation.holdout, stratify=evaluation.stratify)
        problems += _one_sided(draft, rows, held)
    if rows or held or not problems:
        problems += _capped(draft, checks.finish())
    if evaluation and evaluation.max_examples:
        held = choose(held, evaluation.max_examples)
    rows, held = (tuple(instructed(side, data.instruction)) for side in (rows, held))
    return Material(rows, held, tuple(problems))


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
    return Source((data.path,), columns, data.format, data.encoding)


def _read(
    draft: Draft, data: TrainingData, at: tuple[str, str], look: Look
) -> tuple[tuple[Example, ...], list[Problem]]:
    if not data.path.is_file():
        return (), [draft.document.problem(at, *_absent(data.path), "no-file")]
    return _looked_at(draft, read(source_of(data)), look)


def _looked_at(
    draft: Draft, batches: Iterable[Batch], look: Look
) -> tuple[tuple[Example, ...], list[Problem]]:
    rows: list[Example] = []

    def problems() -> Iterator[Problem]:
        for batch in batches:
            rows.extend(batch.examples())
            yield from look(batch)

    found = _capped(draft, problems())
    return tuple(rows), found


def _capped(draft: Draft, problems: Iterable[Problem]) -> list[Problem]:
    return capped(problems, f"`tuner data check {draft.document.path} -o json` lists all of them")


def _absent(path: Path) -> tuple[str, str]:
    from difflib import get_close_matches

    if path.is_dir():
        return f"{path} is a folder, not a file", "name a file in it"
    if path.exists():
        return f"{path} is not an ordinary file", "copy what it gives into a file and name that"
    names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, names, n=1)
    fix = f"did you mean {path.parent / near[0]}?" if near else "paths are relative to the spec"
    return f"{path} does not exist", fix


def _one_sided(draft: Draft, rows: Sequence[Example], held: Sequence[Example]) -> Iterator[Problem]:
    if bool(rows) == bool(held):
        return
    what = "holdout leaves no row to tune on" if held else "holdout leaves no row to evaluate with"
    fix = f"choose a {'smaller' if held else 'larger'} share, or add rows to the file"
    yield draft.document.problem(("evaluation", "holdout"), what, fix, "empty-side")
