"""A metric of the user's own: ``module:function``, from beside the spec or installed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, SupportsFloat

from tuner.errors import Problem, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

_FIX = "write module:function, the module beside the spec or installed"


class NoScoreError(Exception):
    """A metric of the user's own gave no number from 0 to 1; says what it did instead."""


def own_metric(kind: str, folder: Path) -> Callable[[str, str], float]:
    """The function that ``kind`` names; it raises NoScoreError where it gives no share.

    Raises:
        SpecError: There is no such module or function, or the module cannot be imported.
    """
    name, _, attribute = kind.partition(":")
    found: Any = _imported(kind, name, folder)
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise _wrong(kind, folder, f"module {name} has no function {attribute}", _FIX)

    def score(expected: str, answer: str) -> float:
        try:
            given = found(expected, answer)
        except Exception as error:
            raise NoScoreError(f"{kind} raised {type(error).__name__}: {error}") from error
        if not isinstance(given, SupportsFloat) or not 0 <= float(given) <= 1:
            raise NoScoreError(f"{kind} gave {given!r}, not a number from 0 to 1")
        return float(given)

    return score


def code_of(kind: str, folder: Path) -> str:
    """A digest of the module's file when it lies beside the spec, "" else: other code, other scores."""
    path = _path(kind.partition(":")[0], folder)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path else ""


def _imported(kind: str, name: str, folder: Path) -> ModuleType:
    path = _path(name, folder)
    try:
        with _importable(folder):
            return _loaded(name, path) if path else importlib.import_module(name)
    except ImportError as error:
        raise _wrong(kind, folder, f"module {name} cannot be imported: {error}", _FIX) from error
    except Exception as error:
        what = f"module {name} fails when it is imported: {type(error).__name__}: {error}"
        raise _wrong(kind, folder, what, f"`python -m {name}` shows where") from error


@cache
def _loaded(name: str, path: Path) -> ModuleType:
    """By its file: beside another spec there may be another module of the same name."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _path(name: str, folder: Path) -> Path | None:
    path = folder.absolute().joinpath(*name.split(".")).with_suffix(".py")
    return path if path.is_file() else None


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """What lies in ``folder`` can be imported by the module, too."""
    before = list(sys.path)
    sys.path.insert(0, str(folder.absolute()))
    try:
        yield
    finally:
        sys.path[:] = before


def _wrong(kind: str, folder: Path, what: str, fix: str) -> SpecError:
    return SpecError([Problem(f"{folder}/", 0, 0, f"metric {kind}: {what}", fix, "bad-metric")])
