"""What a service is told at its start."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.engine import CHECKPOINT_S, KNOWN_BASE_MODELS, TINY, BaseModel
from tuner.errors import InvalidInput, Problem
from tuner.server.access.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.server.access.tls import Tls

METHODS = ("generateContent", "countTokens", "createTunedModel")
SOURCES = "a folder, a hub name as Qwen/Qwen3-0.6B, or builtin:tiny"
MODEL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen, what to offer, when to leave.

    Attributes:
        grpc: ``host:port``; port 0 takes a free one.
        rest: The same for the REST door; None has none.
        base_models: By their names, ``models/ID``.
        idle_exit_s: Leave after so many seconds without a call or a tuning; None stays.
        workers: Tunings at a time.
        checkpoint_s: Seconds of a tuning that a kill may cost.
        grace_s: How long calls in flight may go on when the service stops.
        database: A URL of SQLAlchemy's, ``postgresql://...``; None is SQLite in the service's folder.
        tls: What both doors show to who comes; None is for loopback only.
        limits: What one caller may ask for.
    """

    grpc: str = "127.0.0.1:50051"
    rest: str | None = None
    base_models: Mapping[str, BaseModel] = field(default_factory=lambda: KNOWN_BASE_MODELS)
    idle_exit_s: float | None = None
    workers: int = 1
    checkpoint_s: float = CHECKPOINT_S
    grace_s: float = 10.0
    database: str | None = None
    tls: Tls | None = None
    limits: Limits = field(default_factory=Limits)


def with_more(known: Mapping[str, BaseModel], pairs: Sequence[str]) -> dict[str, BaseModel]:
    """``known`` and the base models given as ``NAME=SOURCE``.

    Raises:
        InvalidInput: A pair has another form.
    """
    problems, models = [], dict(known)
    for pair in pairs:
        name, _, source = pair.partition("=")
        model_id = name.removeprefix("models/")
        if not source or not MODEL_ID.fullmatch(model_id):
            what = f"--base-model {pair}: not of the form NAME=SOURCE"
            fix = "e.g. qwen3-0.6b=Qwen/Qwen3-0.6B; NAME has lower-case letters, digits, . _ -"
            problems.append(Problem("", 0, 0, what, fix))
            continue
        if missing := source_problem(source):
            problems.append(Problem("", 0, 0, f"--base-model {pair}: {missing}", SOURCES))
        models[f"models/{model_id}"] = new_base_model(model_id, source)
    if problems:
        raise InvalidInput(problems)
    return models


def source_problem(source: str) -> str:
    """Why no model can come from there, as far as a look at this machine tells; empty if it may."""
    if source.startswith("builtin:") and source != TINY.source:
        return f"{source} is not in the box; {TINY.source} is"
    if source.startswith(("/", ".", "~")) and not Path(source).expanduser().is_dir():
        return f"there is no folder {source}"
    return ""


def new_base_model(model_id: str, source: str) -> BaseModel:
    """A base model of which only the source is known."""
    name = f"models/{model_id}"
    if source == TINY.source:
        return replace(TINY, name=name)
    return BaseModel(name, source, display_name=model_id, methods=METHODS)
