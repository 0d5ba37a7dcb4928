"""A metric of the user's own: ``module:function``, from beside the spec or installed."""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import closing
from pathlib import Path

from tuner.errors import Problem, SpecError

LONGEST_S = 60.0
"""For one row."""
LONGEST_IMPORT_S = 120.0
"""For the module, which may load a model of its own."""

_PROCESS = str(Path(__file__).with_name("own_process.py"))
_FIX = "write module:function, the module beside the spec or installed"


class NoScoreError(Exception):
    """A metric gave no number from 0 to 1; says what it did instead."""


class OwnMetric:
    """The function that ``kind`` names, in a process of its own: it may take its time, or never end."""

    def __init__(self, kind: str, folder: Path) -> None:
        """Nothing is begun yet; ``folder`` is where the module may lie, that of the job's spec."""
        from tuner.evaluation.apart import Apart

        self._kind, self._folder = kind, folder
        name, _, attribute = kind.partition(":")
        asked = {
            "path": sys.path,
            "name": name,
            "attribute": attribute,
            "file": str(_path(name, folder) or ""),
            "folder": str(folder.absolute()),
        }
        self._process = Apart([sys.executable, "-PB", _PROCESS, json.dumps(asked)])
        self._is_there = False

    def __call__(self, expected: str, answer: str) -> float:
        """The score, from 0 to 1.

        Raises:
            SpecError: There is no such module or function, or the module cannot be imported.
            NoScoreError: The function gives none, raises, or is not done after ``LONGEST_S``.
        """
        self.begin()
        try:
            reply = self._process.ask([expected, answer], LONGEST_S)
        except TimeoutError as error:
            raise NoScoreError(f"{self._kind} was not done after {LONGEST_S:g} s") from error
        except EOFError as error:
            raise NoScoreError(f"{self._kind} took its process with it: {error}") from error
        if "wrong" in reply:
            raise NoScoreError(f"{self._kind} {reply['wrong']}")
        return float(reply["score"])

    def begin(self) -> None:
        """Import the module, unless it is there. Raises SpecError."""
        if self._is_there:
            return
        name = self._kind.partition(":")[0]
        try:
            reply = self._process.ask(None, LONGEST_IMPORT_S)
        except TimeoutError as error:
            raise self._wrong(
                f"module {name} was not imported after {LONGEST_IMPORT_S:g} s"
            ) from error
        except EOFError as error:
            raise self._wrong(f"module {name} fails when it is imported: {error}") from error
        if "wrong" in reply:
            fix = f"`python -m {name}` shows where" if reply["where"] else _FIX
            raise self._wrong(reply["wrong"], fix)
        self._is_there = True

    def close(self) -> None:
        """End its process, whatever it is at; from any thread."""
        self._process.end()

    def _wrong(self, what: str, fix: str = _FIX) -> SpecError:
        what = f"metric {self._kind}: {what}"
        return SpecError([Problem(f"{self._folder}/", 0, 0, what, fix, "bad-metric")])


def check(kind: str, folder: Path) -> None:
    """Import the module in passing. Raises SpecError."""
    with closing(OwnMetric(kind, folder)) as metric:
        metric.begin()


def code_of(kind: str, folder: Path) -> str:
    """A digest of the module's file when it lies beside the spec, "" else: other code, other scores."""
    path = _path(kind.partition(":")[0], folder)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path else ""


def _path(name: str, folder: Path) -> Path | None:
    path = folder.absolute().joinpath(*name.split(".")).with_suffix(".py")
    return path if path.is_file() else None
