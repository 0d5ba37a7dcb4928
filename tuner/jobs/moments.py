"""Moments as people and programs read them: ISO 8601, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as UTC, e.g. ``2026-11-22T09:30:00.250Z``."""
    whole, part = divmod(round(seconds * 1_000_000) // 1000, 1000)
    return f"{_second(whole)}.{part:03d}Z"


@lru_cache(8)
def _second(seconds: int) -> str:
    """Many events fall into one."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")


def seconds_of(moment: object) -> float:
    """A moment, a number or a text of ISO 8601, as seconds since 1970; 0 when it is none."""
    if isinstance(moment, int | float):
        return float(moment)
    try:
        return datetime.fromisoformat(str(moment)).timestamp()
    except ValueError:
        return 0.0
