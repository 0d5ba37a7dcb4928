"""What a plain word in YAML means: the types of YAML 1.2's core schema, less its traps.

``true`` and ``false`` (also True, TRUE) are booleans; ``null``, ``~`` and nothing at all are None;
``12``, ``-3``, ``0.1``, ``.5``, ``1e-4`` are numbers. Everything else is text, as written: ``no``,
``yes``, ``on``, ``off``, ``2026-11-22``, ``12:30:45``, ``1_000``, ``0x1F``, ``0o17``, ``.inf``, and
numbers with leading zeros such as ``007``, which are somebody's identifiers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Scalar = str | int | float | bool | None

MAX_DIGITS = 300
"""Python refuses to convert integers of more than 4,300 digits, for their cost; so do we, sooner."""

_WORDS: dict[str, bool | None] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_VARIABLE = r"\$(\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>[^}]*))?\}|\{(?P<other>[^}]*))"


class NoValue(Exception):
    """A text asks the environment for what it has not; the arguments are complaint and fix."""


def read_scalar(text: str) -> Scalar:
    """The value of an unquoted word."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) <= MAX_DIGITS:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Put in ``${NAME}`` and ``${NAME:-default}``; ``$$`` is one dollar sign, as is a lone ``$``.

    As in a shell the default also stands in for a variable that is set to nothing. What was put
    in is not looked at again.

    Raises:
        NoValue: A variable is not set and has no default, or its name is none.
    """

    def value(found: re.Match[str]) -> str:
        name, default, other = found["name"], found["default"], found["other"]
        if other is not None:
            fix = "write ${NAME} or ${NAME:-default}; for these very characters $${"
            raise NoValue(f"${{{other} does not name an environment variable", fix)
        if name is None:
            return "$"
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            fix = f"set it, or give it a default: ${{{name}:-default}}; or write $${{{name}}}"
            raise NoValue(f"the environment variable {name} is not set", fix)
        return environ[name]

    return re.sub(_VARIABLE, value, text) if "$" in text else text
