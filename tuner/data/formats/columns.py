"""What to say when a file has no column, or a row no key, of the name a spec gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.data import Columns

MAX_NAMED, MAX_NAME = 20, 32
_OPTIONS = {"text_input": "--text-input", "output": "--output-column"}


def missing_columns(
    path: str, line: int, columns: Columns, present: Sequence[str], word: str
) -> Iterator[Problem]:
    """A problem for each of ``columns`` that is not ``present``; ``word`` is column or key."""
    for setting, name in columns._asdict().items():
        if name not in present:
            what = f"there is no {word} {name!r}; there is {_listed(present)}"
            yield Problem(path, line, 0, what, _fix(setting, name, present), f"no-{word}")


def shown(name: str) -> str:
    """A name as a message quotes it: of a file without a first row it is a text, or a secret."""
    return repr(name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}...")


def _fix(setting: str, name: str, present: Sequence[str]) -> str:
    from shlex import quote

    near = _nearest(name, present)
    option = _OPTIONS[setting]
    if not near:
        return f"say which one to read: training_data.{setting} ({option} COLUMN)"
    if near.strip() == name.strip():
        return f"take the spaces out of the name {near!r}, or write {setting}: {near!r} in the spec"
    return f"did you mean {near!r}? Then write training_data.{setting}: {near} ({option} {quote(near)})"


def _nearest(name: str, present: Sequence[str]) -> str:
    from difflib import get_close_matches

    plain = {other.strip().casefold(): other for other in present}
    found = get_close_matches(name.strip().casefold(), plain, n=1)
    return plain[found[0]] if found else ""


def _listed(present: Sequence[str]) -> str:
    named = ", ".join(map(shown, present[:MAX_NAMED])) or "none"
    more = len(present) - MAX_NAMED
    return f"{named} and {more} more" if more > 0 else named
