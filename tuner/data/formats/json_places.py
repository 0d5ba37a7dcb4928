"""Where in a text of JSON a value, or a character of a text in it, stands.

A parser does not say; so a text is gone through again, but only where there is a complaint.
"""

from __future__ import annotations

import re
from itertools import islice
from json import JSONDecoder
from json.decoder import scanstring  # type: ignore[attr-defined] # typeshed leaves it out
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.data.formats.shapes import Path

MAX_DIGITS = 4300
"""Python's own limit for a number it converts."""

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_TOKEN = re.compile(_STRING + r"|[{}\[\],:]", re.DOTALL)
_LONG_NUMBER = re.compile(_STRING + rf"|-?(?P<digits>\d{{{MAX_DIGITS + 1},}})", re.DOTALL)
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\"\\]",
    re.DOTALL,
)
_SPACE = re.compile(r"[ \t\r\n]*")
_scan: Any = JSONDecoder().scan_once  # type: ignore[attr-defined] # as above


def value_index(text: str, path: Path) -> int:
    """Where the value that the keys of ``path`` lead to begins; good JSON is expected."""
    at = _past_space(text, 0)
    for step in path:
        at = _item(text, at, step) if isinstance(step, int) else _member(text, at, step)
    return at


def character_index(text: str, at: int, offset: int) -> int:
    """Where a character of a text in JSON begins; ``at`` is the opening quote, ``offset`` from 0."""
    if not offset:
        return at + 1
    match = next(islice(_CHARACTER.finditer(text, at + 1), offset, None), None)
    return match.start() if match else at + 1


def line_and_column(text: str, at: int, line: int, column: int) -> tuple[int, int]:
    """The place of ``text[at]``, where ``text`` itself begins at a line and column."""
    lines = text.count("\n", 0, at)
    return line + lines, (at - text.rfind("\n", 0, at)) if lines else column + at


def repeated_key(text: str) -> tuple[str, int] | None:
    """The first key that its object has already, and where its second opening quote is."""
    open_objects: list[set[str] | None] = []
    before = ""
    for match in _TOKEN.finditer(text):
        found = match[0]
        if found in "{[":
            open_objects.append(set() if found == "{" else None)
        elif found in "}]" and open_objects:
            open_objects.pop()
        elif found[0] == '"' and before in ("{", ",") and open_objects:
            keys = open_objects[-1]
            key = scanstring(found, 1)[0] if keys is not None else ""
            if keys is not None and key in keys:
                return key, match.start()
            if keys is not None:
                keys.add(key)
        before = found
    return None


def long_number_index(text: str) -> int:
    """The first number outside the texts that has too many digits; 0 when there is none."""
    found = (match.start() for match in _LONG_NUMBER.finditer(text) if match["digits"])
    return next(found, 0)


def deep_index(text: str, depth: int) -> int:
    """The bracket that opens level ``depth``; 0 when there is none."""
    level = 0
    for match in _TOKEN.finditer(text):
        level += (match[0] in "{[") - (match[0] in "}]")
        if level >= depth:
            return match.start()
    return 0


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    at = _past_space(text, at + 1)
    while text[at] == '"':
        key, at = scanstring(text, at + 1)
        at = _past_space(text, _past_space(text, at) + 1)
        yield key, at
        at = _past_space(text, _scan(text, at)[1])
        at = _past_space(text, at + 1) if text[at] == "," else at


def _member(text: str, at: int, key: str) -> int:
    return next((place for name, place in _members(text, at) if name == key), at)


def _item(text: str, at: int, index: int) -> int:
    at = _past_space(text, at + 1)
    for _ in range(index):
        at = _past_space(text, _scan(text, at)[1])
        at = _past_space(text, at + 1)
    return at


def _past_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
