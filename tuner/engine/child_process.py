"""What the engine and its child processes share: JSON lines, CPU limits, tracebacks without user data."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tuner.engine import BaseModel, Form, Piece, Prompt, Score, Turn

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Mapping

MAX_LINE_BYTES = 1 << 28
CPU_QUOTA_FILE = Path("/sys/fs/cgroup/cpu.max")
# OpenMP reads these when torch is loaded. Threads that spin while they wait slow down other processes.
OPENMP_PASSIVE_ENV = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}


def available_cpus(quota_file: Path = CPU_QUOTA_FILE) -> int:
    """Return the number of CPUs this process may use within its container's quota, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)  # missing on macOS
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text("ascii").split()
        return max(1, min(cpus, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or no quota ("max")
        return cpus


def format_traceback(error: BaseException) -> str:
    """Format an error and its causes as class names and code positions, without messages.

    Messages may quote what a user sent, and the result goes to logs.
    """
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    causes = [format_traceback(each) for each in (cause, *parts) if each is not None]
    frames = [
        f"  {frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return "\n".join([*causes, type(error).__qualname__, *frames])


def encode(message: Mapping[str, Any]) -> bytes:
    """Encode a message as one line of JSON; paths become text."""
    return json.dumps(message, default=str).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Decode one line."""
    message: dict[str, Any] = json.loads(line)
    return message


def prompt_from(fields: Mapping[str, Any]) -> Prompt:
    """Build a Prompt from the output of ``dataclasses.asdict``."""
    adapter, form = fields["adapter"], fields["form"]
    values = {
        **fields,
        "turns": tuple(Turn(**turn) for turn in fields["turns"]),
        "adapter": adapter and Path(adapter),
        "stop_sequences": tuple(fields["stop_sequences"]),
        "form": form and Form(form["json_schema"], tuple(form["choices"]), tuple(form["sources"])),
    }
    return Prompt(**values)


def piece_from(fields: Mapping[str, Any]) -> Piece:
    """Build a Piece from the output of ``dataclasses.asdict``; other fields are ignored."""
    values = {field: fields[field] for field in Piece.__slots__}
    return Piece(**{**values, "scores": tuple(map(_score_from, fields["scores"]))})


def base_model_from(fields: Mapping[str, Any]) -> BaseModel:
    """Build a BaseModel from the output of ``dataclasses.asdict``."""
    return BaseModel(**{**fields, "methods": tuple(fields["methods"])})


async def read_messages(process: Process) -> AsyncIterator[dict[str, Any]]:
    """Yield a process's messages until it ends; a last line without a line break is ignored."""
    if process.stdout is None:
        return
    async for line in process.stdout:
        if line.endswith(b"\n"):
            yield decode(line)


def describe_exit(code: int) -> str:
    """Describe how a process ended."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


class Replies:
    """Standard output reserved for messages; output of libraries goes to standard error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stream: BinaryIO = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def send(self, **message: Any) -> None:
        """Write one message; thread-safe."""
        with self._lock:
            self._stream.write(encode(message))
            self._stream.flush()


def _score_from(fields: Mapping[str, Any]) -> Score:
    return Score(**{**fields, "likeliest": tuple(map(_score_from, fields["likeliest"]))})
