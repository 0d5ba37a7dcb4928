"""Find the spec and pipeline files that a command line names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import InvalidInput, Problem, SpecError
from tuner.yaml_source import read_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIXES = (".yaml", ".yml")
JOB, PIPELINE = "job", "jobs"


def find_specs(given: Sequence[str]) -> list[Path]:
    """Return the spec and pipeline files of files and folders, in order, each once.

    Of a folder: the visible ``.yaml`` and ``.yml`` files with ``job:`` or ``jobs:`` at the top level,
    or that are not YAML. Raises InvalidInput.
    """
    files: dict[Path, Path] = {}
    problems: list[Problem] = []
    for name in given:
        try:
            for path in _of(Path(name)):
                files.setdefault(path.resolve(), path)
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems)
    return list(files.values())


def is_pipeline(path: Path) -> bool:
    """Whether a file's top level has ``jobs:``; False if it cannot be read."""
    return PIPELINE in (_top(path) or ())


def _of(given: Path) -> Iterator[Path]:
    if not given.is_dir():
        yield given
        return
    specs = [path for path in sorted(given.iterdir()) if _is_spec(path)]
    if not specs:
        what = "no file in this folder is a job spec: none has `job:` or `jobs:` at the top level"
        fix = "name the files, or write a first spec with `tuner init`"
        raise InvalidInput([Problem(str(given), 0, 0, what, fix, "no-spec")])
    yield from specs


def _is_spec(path: Path) -> bool:
    if path.suffix not in SUFFIXES or path.name.startswith(".") or not path.is_file():
        return False
    top = _top(path)
    return top is None or not top.isdisjoint((JOB, PIPELINE))


def _top(path: Path) -> frozenset[str] | None:
    """Return the keys at the top level; None if the file cannot be read."""
    try:
        value = read_document(path).value
    except SpecError:
        return None
    return frozenset(value) if isinstance(value, dict) else frozenset()
