"""Tuning examples: reading, checking, repairing and writing them, and pandas for notebooks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tuner.data.dataset import FORMATS as FORMATS
from tuner.data.dataset import USUAL as USUAL
from tuner.data.dataset import Batch as Batch
from tuner.data.dataset import Columns as Columns
from tuner.data.dataset import Source as Source
from tuner.data.dataset import read as read
from tuner.data.dataset import read_rows as read_rows

if TYPE_CHECKING:
    from typing import Any

    from tuner.data.frame import balance as balance
    from tuner.data.frame import check as check
    from tuner.data.frame import dedupe as dedupe
    from tuner.data.frame import from_frame as from_frame
    from tuner.data.frame import split as split
    from tuner.data.frame import stats as stats
    from tuner.data.frame import to_frame as to_frame


def __getattr__(name: str) -> Any:
    """Load the functions for notebooks when they are used."""
    if name in ("balance", "check", "dedupe", "from_frame", "split", "stats", "to_frame"):
        return getattr(import_module("tuner.data.frame"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
