"""A process of its own for code that may never come to an end, asked and answering in lines of JSON."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class Apart:
    """A process that is begun with the first question and serves until it is ended."""

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
        """Kill the process, whatever it is at, and begin no other; from any thread."""
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
