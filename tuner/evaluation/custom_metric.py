"""Metrics that run in a subprocess, since they may never end: custom functions and regular expressions.

Python's matcher lets no other thread run meanwhile, and cannot be stopped from within.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import weakref
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import Problem, SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_S = 60.0
"""For one row."""
LONGEST_IMPORT_S = 120.0
"""For the module, which may load a model of its own."""

_PROCESS = str(Path(__file__).with_name("custom_metric_process.py"))
_FIX = "write module:function, the module beside the spec or installed"


class NoScoreError(Exception):
    """A metric gave no number from 0 to 1; says what it did instead."""


class CustomMetric:
    """The function that ``kind`` names, in a process of its own: it may take its time, or never end."""

    def __init__(self, kind: str, folder: Path) -> None:
        """Nothing is begun yet; ``folder`` is where the module may lie, that of the job's spec."""
        self._kind, self._folder = kind, folder
        name, _, attribute = kind.partition(":")
        asked = {
            "path": sys.path,
            "name": name,
            "attribute": attribute,
            "file": str(_path(name, folder) or ""),
            "folder": str(folder.absolute()),
        }
        self._process = Subprocess([sys.executable, "-PB", _PROCESS, json.dumps(asked)])
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
    with closing(CustomMetric(kind, folder)) as metric:
        metric.begin()


def code_of(kind: str, folder: Path) -> str:
    """A digest of the module's file when it lies beside the spec, "" else: other code, other scores."""
    path = _path(kind.partition(":")[0], folder)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path else ""


def _path(name: str, folder: Path) -> Path | None:
    path = folder.absolute().joinpath(*name.split(".")).with_suffix(".py")
    return path if path.is_file() else None


MAX_MATCH_S = 10.0
"""For one answer: thousands are matched in a second, by what comes to an end at all."""

_MATCHER = """
import functools, json, re, sys
compiled = functools.lru_cache(maxsize=1024)(lambda pattern: re.compile(pattern, re.DOTALL))
for line in sys.stdin:
    pattern, text = json.loads(line)
    try:
        said = compiled(pattern).fullmatch(text) is not None
    except (re.error, RecursionError, OverflowError, MemoryError) as error:
        said = str(error) or type(error).__name__
    print(json.dumps(said), flush=True)
"""


class Pattern:
    """Tells whether whole answers match; the process is begun with the first of them."""

    def __init__(self, pattern: str) -> None:
        """Nothing is begun yet; ``{expected}`` in ``pattern`` stands for what was expected."""
        self._pattern = pattern
        self._process = Subprocess([sys.executable, "-I", "-S", "-c", _MATCHER])

    def __call__(self, expected: str, answer: str) -> float:
        """1 when all of the answer matches, white space around it aside; a dot is any character.

        Raises:
            NoScoreError: The pattern cannot be compiled, or does not come to an end in ``MAX_MATCH_S``.
        """
        pattern = self._pattern.replace("{expected}", re.escape(expected))
        try:
            said = self._process.ask([pattern, answer.strip()], MAX_MATCH_S)
        except TimeoutError as error:
            raise NoScoreError(
                f"regex was not done after {MAX_MATCH_S:g} s: a pattern that repeats what repeats, "
                "such as (a+)+, may take for ever"
            ) from error
        except EOFError as error:
            raise NoScoreError(f"regex lost its process: {error}") from error
        if isinstance(said, str):
            raise NoScoreError(f"regex has no such pattern: {said}")
        return float(said)

    def close(self) -> None:
        """End its process, whatever it is at; from any thread."""
        self._process.end()


class Subprocess:
    """A process that starts with the first request and serves until it is ended."""

    def __init__(self, command: Sequence[str]) -> None:
        """``command`` answers every line of its input with one line of its output."""
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._is_over = False

    def ask(self, question: object, longest_s: float) -> Any:
        """The answer to a question, both anything that JSON knows.

        Raises:
            TimeoutError: There was none after so many seconds; the process is killed, and the next
                question begins another one.
            EOFError: The process ended; how, in words.
        """
        process = self._begun()
        if process.stdin is None or process.stdout is None:
            raise EOFError("it has no process")
        with suppress(BrokenPipeError):
            process.stdin.write(f"{json.dumps(question)}\n")
            process.stdin.flush()
        if not select.select([process.stdout], [], [], longest_s)[0]:
            _kill(process)
            raise TimeoutError
        if line := process.stdout.readline():
            return json.loads(line)
        _kill(process)
        raise EOFError(_how(process.returncode))

    def end(self) -> None:
        """Kill the process and start no other; may be called from any thread."""
        self._is_over = True
        if self._process is not None:
            _kill_group(self._process)

    def _begun(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="ascii",
                start_new_session=True,  # Ctrl-C is for us
            )
            weakref.finalize(self, _kill, self._process)
        if self._is_over:  # since before it was begun
            _kill_group(self._process)
        return self._process


def _kill(process: subprocess.Popen[str]) -> None:
    _kill_group(process)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what it did not read
            pipe and pipe.close()


def _kill_group(process: subprocess.Popen[str]) -> None:
    """With what it has begun itself."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _how(code: int) -> str:
    return f"it ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with code {code}"
