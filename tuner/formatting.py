"""Numbers and times as text for people and programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def format_number(value: float) -> str:
    """Return a score or loss with three decimals; a negative zero loses its sign."""
    return f"{round(value, 3) + 0.0:.3f}"


def format_floats(row: Mapping[str, object]) -> dict[str, object]:
    """Return a table row with its floats as ``format_number`` writes them."""
    return {
        key: format_number(value) if isinstance(value, float) else value
        for key, value in row.items()
    }


def format_time(seconds: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC, e.g. ``2026-11-22T09:30:00.250Z``."""
    whole, milliseconds = divmod(round(seconds * 1_000_000) // 1000, 1000)
    moment = datetime.fromtimestamp(whole, UTC).isoformat().removesuffix("+00:00")
    return f"{moment}.{milliseconds:03d}Z"


def parse_time(moment: object) -> float:
    """Return a number or an ISO 8601 text as seconds since 1970; 0 when it is neither."""
    if isinstance(moment, int | float):
        return float(moment)
    try:
        return datetime.fromisoformat(str(moment)).timestamp()
    except ValueError:
        return 0.0
