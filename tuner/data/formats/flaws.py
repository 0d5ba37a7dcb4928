"""What to say about a value of a record that is not what is needed there."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from tuner.data.formats.columns import MAX_NAMED, missing_columns, shown
from tuner.data.formats.shapes import Flaw

if TYPE_CHECKING:
    from collections.abc import Collection

    from tuner.data import Columns
    from tuner.data.formats.shapes import Path

MAX_SHOWN = 40
"""Characters of a number that are shown."""

_KINDS = ((bool, "true or false"), (int | float, "a number"), (list, "a list"), (dict, "an object"))


def no_keys(columns: Columns, present: Collection[str]) -> list[Flaw]:
    """One for each of the two keys that is not there."""
    found = missing_columns("", 0, columns, list(present), "key")
    return [Flaw((), each.what, each.fix, each.rule) for each in found]


def no_key(key: str, present: Collection[str], fix: str) -> Flaw:
    """A shape's own key is not there."""
    there = ", ".join(map(shown, islice(present, MAX_NAMED))) or "none"
    return Flaw((), f"there is no key {key!r}; there is {there}", fix, "no-key")


def not_text(path: Path, value: object) -> Flaw:
    """Something else stands where a text is needed."""
    what = f"{path[-1] if path else 'it'} is {described(value)} where a text is needed"
    return Flaw(path, what, _quoted(value), "not-text")


def bad_conversation(path: Path, what: str, fix: str) -> Flaw:
    """Messages are not a question and its answer."""
    return Flaw(path, what, fix, "bad-conversation")


def described(value: Any) -> str:
    """E.g. ``a number (7)``."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "a text"
    kind = next((name for types, name in _KINDS if isinstance(value, types)), "no text")
    return f"{kind} ({written(value)})" if isinstance(value, bool | int | float) else kind


def written(value: float) -> str:
    """A number or truth value as JSON writes it, shortened."""
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _quoted(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return f'put quotes around it: "{written(value)}"'
    return "write it as one text in double quotes"
