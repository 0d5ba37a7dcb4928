"""Scores, losses and their differences as people read them: three decimals, wherever they stand.

Programs get them as they are, unrounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def figure(value: float) -> str:
    """``0.083``; what is nothing but rounding error has no sign."""
    return f"{round(value, 3) + 0.0:.3f}"


def readable(row: Mapping[str, object]) -> dict[str, object]:
    """A row of a table, with its fractions as figures."""
    return {key: figure(value) if isinstance(value, float) else value for key, value in row.items()}
