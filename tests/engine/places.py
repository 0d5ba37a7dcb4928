"""Models and texts that several tests of the engine share."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tuner.engine import KNOWN_BASE_MODELS, TINY
from tuner.engine.base_models import pull
from tuner.types import Example

SMOLLM2 = KNOWN_BASE_MODELS["models/smollm2-135m-instruct"]
MINILM = KNOWN_BASE_MODELS["models/all-minilm-l6-v2"]
EXAMPLES = tuple(
    Example(f"which colour has number {n}?", ["red", "blue"][n % 2]) for n in range(12)
)

_scratch = TemporaryDirectory()


@cache
def tiny() -> Path:
    """The folder of builtin:tiny, made once for all tests of a process."""
    return pull(TINY, Path(_scratch.name))
