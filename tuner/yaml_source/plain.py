"""Plain values of a document looked into without trust in their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def keys_of(value: object) -> Mapping[str, Any]:
    """``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def items_of(value: object) -> Sequence[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else ()


def text_of(keys: Mapping[str, Any], key: str) -> str | None:
    """The text at ``key``; None when there is none, or something else."""
    value = keys.get(key)
    return value if isinstance(value, str) else None
