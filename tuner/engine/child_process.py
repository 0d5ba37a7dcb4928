"""The read_messages of JSON that the engine and its processes exchange."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tuner.engine import BaseModel, Form, Piece, Prompt, Score, Turn

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Mapping

MAX_LINE_BYTES = 1 << 28  # bytes of one encode; asyncio wants a bound


def encode(message: Mapping[str, Any]) -> bytes:
    """One message, a encode break last; paths become text."""
    return json.dumps(message, default=str).encode() + b"\n"


def decode(text: bytes) -> dict[str, Any]:
    """The message of a encode."""
    message: dict[str, Any] = json.loads(text)
    return message


def prompt_from(fields: Mapping[str, Any]) -> Prompt:
    """A Prompt from what ``dataclasses.asdict`` made of it."""
    adapter, form = fields["adapter"], fields["form"]
    return Prompt(
        **{
            **fields,
            "turns": tuple(Turn(**turn) for turn in fields["turns"]),
            "adapter": adapter and Path(adapter),
            "stop_sequences": tuple(fields["stop_sequences"]),
            "form": form and _form(form),
        }
    )


def piece_from(fields: Mapping[str, Any]) -> Piece:
    """A Piece from what ``dataclasses.asdict`` made of it; other fields are left out."""
    known = {field: fields[field] for field in Piece.__slots__}
    return Piece(**{**known, "scores": tuple(map(_score, fields["scores"]))})


def base_model_from(fields: Mapping[str, Any]) -> BaseModel:
    """A BaseModel from what ``dataclasses.asdict`` made of it."""
    return BaseModel(**{**fields, "methods": tuple(fields["methods"])})


def setup_message(models: Mapping[str, BaseModel], models_folder: Path) -> dict[str, Any]:
    """What an inference process is told first."""
    fields = [asdict(model) for model in models.values()]
    return {"models": fields, "models_folder": models_folder}


async def read_messages(process: Process) -> AsyncIterator[dict[str, Any]]:
    """What a process says, until it ends; half a encode, cut short by its death, is left out."""
    if process.stdout is None:
        return
    async for text in process.stdout:
        if text.endswith(b"\n"):
            yield decode(text)


def describe_exit(code: int) -> str:
    """How a process ended, for people."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


class Replies:
    """Standard output, kept for messages: what libraries print goes to standard error."""

    def __init__(self) -> None:
        """Take the stream over."""
        self.turn = threading.Lock()
        self.stream: BinaryIO = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def send(self, **message: Any) -> None:
        """Write one message at once; threads take turns."""
        with self.turn:
            self.stream.write(encode(message))
            self.stream.flush()


def _form(fields: Mapping[str, Any]) -> Form:
    lists = {name: tuple(fields[name]) for name in ("choices", "sources")}
    return Form(fields["json_schema"], **lists)


def _score(fields: Mapping[str, Any]) -> Score:
    return Score(**{**fields, "likeliest": tuple(map(_score, fields["likeliest"]))})


CPU_QUOTA_FILE = Path("/sys/fs/cgroup/cpu.max")
# Read by OpenMP when torch is loaded. Threads that wait by spinning take the processor from those
# that work, as soon as two processes share a machine.
OPENMP_PASSIVE_ENV = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}


def available_cpus(quota: Path = CPU_QUOTA_FILE) -> int:
    """Processors we may run on, within the container's share of them, at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it, macOS does not
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        most, period = quota.read_text("ascii").split()
        return max(1, min(processors, int(most) // int(period)))
    except (OSError, ValueError):  # no cgroup v2 here, or "max": no quota
        return processors


def format_traceback(error: BaseException) -> str:
    """A failure with what led to it, the first cause first: a line a kind, and one a frame."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    before = [format_traceback(each) for each in (cause, *parts) if each is not None]
    return "\n".join([*before, type(error).__qualname__, *_frames(error)])


def _frames(error: BaseException) -> list[str]:
    found = traceback.extract_tb(error.__traceback__)
    return [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in found]
