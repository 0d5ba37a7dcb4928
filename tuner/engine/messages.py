"""The lines of JSON that the engine and its processes exchange."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tuner.engine import BaseModel, Form, Piece, Prompt, Score, Turn

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Mapping

LONGEST = 1 << 28  # bytes of one line; asyncio wants a bound


def line(message: Mapping[str, Any]) -> bytes:
    """One message, a line break last; paths become text."""
    return json.dumps(message, default=str).encode() + b"\n"


def parse(text: bytes) -> dict[str, Any]:
    """The message of a line."""
    message: dict[str, Any] = json.loads(text)
    return message


def prompt(fields: Mapping[str, Any]) -> Prompt:
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


def piece(fields: Mapping[str, Any]) -> Piece:
    """A Piece from what ``dataclasses.asdict`` made of it; other fields are left out."""
    known = {field: fields[field] for field in Piece.__slots__}
    return Piece(**{**known, "scores": tuple(map(_score, fields["scores"]))})


def base_model(fields: Mapping[str, Any]) -> BaseModel:
    """A BaseModel from what ``dataclasses.asdict`` made of it."""
    return BaseModel(**{**fields, "methods": tuple(fields["methods"])})


def setup(models: Mapping[str, BaseModel], models_folder: Path) -> dict[str, Any]:
    """What an inference process is told first."""
    fields = [asdict(model) for model in models.values()]
    return {"models": fields, "models_folder": models_folder}


async def lines(process: Process) -> AsyncIterator[dict[str, Any]]:
    """What a process says, until it ends; half a line, cut short by its death, is left out."""
    if process.stdout is None:
        return
    async for text in process.stdout:
        if text.endswith(b"\n"):
            yield parse(text)


def ending(code: int) -> str:
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
            self.stream.write(line(message))
            self.stream.flush()


def _form(fields: Mapping[str, Any]) -> Form:
    lists = {name: tuple(fields[name]) for name in ("choices", "sources")}
    return Form(fields["json_schema"], **lists)


def _score(fields: Mapping[str, Any]) -> Score:
    return Score(**{**fields, "likeliest": tuple(map(_score, fields["likeliest"]))})
