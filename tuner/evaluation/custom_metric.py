"""Metrics that run in a subprocess because they may never end: custom functions and regular expressions.

Python's regular expressions block all threads of their process and cannot be interrupted.
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

MAX_SCORE_S = 60.0
"""For one row."""
MAX_IMPORT_S = 120.0
"""For the module, which may load a model."""
MAX_MATCH_S = 10.0
"""For one answer; ordinary patterns take well under a millisecond."""

_PROCESS = str(Path(__file__).with_name("custom_metric_process.py"))
_FIX = "write module:function; the module is beside the spec or installed"


class NoScoreError(Exception):
    """A metric returned no number from 0 to 1; the message says what happened."""


class CustomMetric:
    """Calls the function ``module:function`` in a subprocess, with a time limit."""

    def __init__(self, kind: str, folder: Path) -> None:
        """Start nothing yet; a module in ``folder``, the spec's, is preferred to an installed one."""
        self._kind, self._folder = kind, folder
        self._module, _, attribute = kind.partition(":")
        arguments = {
            "path": sys.path,
            "name": self._module,
            "attribute": attribute,
            "file": str(_module_file(self._module, folder) or ""),
            "folder": str(folder.absolute()),
        }
        self._process = Subprocess([sys.executable, "-PB", _PROCESS, json.dumps(arguments)])
        self._is_loaded = False

    def __call__(self, expected: str, answer: str) -> float:
        """Return the score, from 0 to 1.

        Raises:
            SpecError: There is no such module or function, or the module cannot be imported.
            NoScoreError: The function returns no score, raises, or exceeds ``MAX_SCORE_S``.
        """
        self.load()
        try:
            reply = self._process.request([expected, answer], MAX_SCORE_S)
        except NoScoreError as error:
            raise NoScoreError(f"{self._kind} {error}") from error
        if "error" in reply:
            raise NoScoreError(f"{self._kind} {reply['error']}")
        return float(reply["score"])

    def load(self) -> None:
        """Import the module, once. Raises SpecError."""
        if self._is_loaded:
            return
        fix = _FIX
        try:
            reply = self._process.request(None, MAX_IMPORT_S)
        except NoScoreError as error:
            what = f"the import of module {self._module} {error}"
        else:
            what = reply.get("error", "")
            if reply.get("has_traceback"):
                fix = f"`python -m {self._module}` shows where"
        if what:
            what = f"metric {self._kind}: {what}"
            raise SpecError([Problem(f"{self._folder}/", 0, 0, what, fix, "bad-metric")])
        self._is_loaded = True

    def close(self) -> None:
        """Kill the subprocess; may be called from any thread."""
        self._process.close()


def check(kind: str, folder: Path) -> None:
    """Check that the function exists, by importing its module. Raises SpecError."""
    with closing(CustomMetric(kind, folder)) as metric:
        metric.load()


def code_digest(kind: str, folder: Path) -> str:
    """Return a digest of the module's file beside the spec; "" for an installed module."""
    path = _module_file(kind.partition(":")[0], folder)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path else ""


def _module_file(name: str, folder: Path) -> Path | None:
    path = folder.absolute().joinpath(*name.split(".")).with_suffix(".py")
    return path if path.is_file() else None


_MATCHER = """
import functools, json, re, sys
compiled = functools.lru_cache(maxsize=1024)(lambda pattern: re.compile(pattern, re.DOTALL))
for line in sys.stdin:
    pattern, text = json.loads(line)
    try:
        reply = compiled(pattern).fullmatch(text) is not None
    except (re.error, RecursionError, OverflowError, MemoryError) as error:
        reply = str(error) or type(error).__name__
    print(json.dumps(reply), flush=True)
"""


class Pattern:
    """Matches whole answers against a regular expression in a subprocess, with a time limit."""

    def __init__(self, pattern: str) -> None:
        """Start nothing yet; ``{expected}`` in ``pattern`` is replaced by the expected output."""
        self._pattern = pattern
        self._process = Subprocess([sys.executable, "-I", "-S", "-c", _MATCHER])

    def __call__(self, expected: str, answer: str) -> float:
        """Return 1 if the stripped answer matches completely; a dot matches any character.

        Raises:
            NoScoreError: The pattern cannot be compiled, or exceeds ``MAX_MATCH_S``.
        """
        pattern = self._pattern.replace("{expected}", re.escape(expected))
        try:
            reply = self._process.request([pattern, answer.strip()], MAX_MATCH_S)
        except NoScoreError as error:
            hint = "nested repetition such as (a+)+ can take exponential time"
            raise NoScoreError(f"regex {error}: {hint}") from error
        if isinstance(reply, str):
            raise NoScoreError(f"regex has an invalid pattern: {reply}")
        return float(reply)

    def close(self) -> None:
        """Kill the subprocess; may be called from any thread."""
        self._process.close()


class Subprocess:
    """A process that starts with the first request and serves until it is closed."""

    def __init__(self, command: Sequence[str]) -> None:
        """``command`` answers each line of JSON with one line of JSON."""
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._is_closed = False

    def request(self, content: object, timeout_s: float) -> Any:
        """Send JSON and return the reply.

        Raises:
            NoScoreError: No reply; the process was killed or has ended, the next request starts another.
        """
        process = self._start()
        if process.stdin is None or process.stdout is None:
            raise NoScoreError("has no process")
        with suppress(BrokenPipeError):
            process.stdin.write(f"{json.dumps(content)}\n")
            process.stdin.flush()
        if not select.select([process.stdout], [], [], timeout_s)[0]:
            _kill_and_wait(process)
            raise NoScoreError(f"did not finish within {timeout_s:g} s")
        if line := process.stdout.readline():
            return json.loads(line)
        _kill_and_wait(process)
        code = process.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise NoScoreError(f"ended its process: {how}")

    def close(self) -> None:
        """Kill the process and start no other; may be called from any thread."""
        self._is_closed = True
        if self._process is not None:
            _kill_group(self._process)

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="ascii",
                start_new_session=True,  # Ctrl-C is handled by this process
            )
            weakref.finalize(self, _kill_and_wait, self._process)
        if self._is_closed:  # close() was called while the process started
            _kill_group(self._process)
        return self._process


def _kill_and_wait(process: subprocess.Popen[str]) -> None:
    _kill_group(process)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # unsent input
            pipe and pipe.close()


def _kill_group(process: subprocess.Popen[str]) -> None:
    """Kill a process and its children."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
