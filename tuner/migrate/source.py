"""A configuration of another tool during its translation: its values, and the result for each key."""

from __future__ import annotations

import json
import math
import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.errors import Problem, SpecError
from tuner.jobspec.scaffold import SpecLine
from tuner.yaml_source import parse_document, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    from tuner.jobspec.scaffold import Written
    from tuner.yaml_source import Document, KeyPath, Value

    Reasons: TypeAlias = Sequence[tuple[str, str]]
    """A reason, and the patterns of the keys it is about, separated by spaces."""

SERVICE_DECIDES = ("auto", "max")
"""Words that stand for a number the service chooses."""
MAX_SHOWN = 40
HIDDEN = "(not shown)"
UNKNOWN = "unknown, and without effect: see the reference of that tool"
EMPTY = "empty, so it is not set"
_SECRETS = ("api_key", "hub_token", "api_token", "auth_token", "secret", "password")
_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


class Remark(NamedTuple):
    """What to know about a key of the source.

    Attributes:
        key: With dots: ``hyperparameters.n_epochs``, ``datasets.0.path``.
        shown: Its value, shortened; empty for a mapping or list.
        why: One sentence, no full stop.
    """

    key: str
    shown: str
    why: str


class SourceConfig:
    """Gives the values of a source file and records the result for each key.

    Attributes:
        document: The file.
        spec_folder: Where the spec will be.
        lines, same, remarks, steps: As in Translation.
        problems: Invalid values.
    """

    def __init__(self, document: Document, spec_folder: Path) -> None:
        self.document = document
        self.spec_folder = spec_folder
        self.lines: list[SpecLine] = []
        self.same: list[Remark] = []
        self.remarks: list[Remark] = []
        self.steps: list[str] = []
        self.problems: list[Problem] = []
        self._done: set[KeyPath] = set()

    def find_file(self, name: str) -> Path | None:
        """Find a file relative to the source, or to the current folder, where such tools run."""
        paths = (self.document.path.parent / name, Path(name)) if name else ()
        return next((path for path in paths if path.is_file()), None)

    def relative_to_spec(self, path: Path) -> str:
        """Return ``path`` as the spec names it."""
        return Path(os.path.relpath(path, self.spec_folder)).as_posix()

    def get(self, *at: str | int) -> Any:
        """Return the value at a path; None if there is none."""
        value: Any = self.document.value
        for step in at:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def text(self, *at: str | int) -> str:
        """Return a text, or a number as text; empty if there is none."""
        value = self.get(*at)
        if isinstance(value, dict | list):
            self._add_problem(at, "is not text", "write one text")
            return ""
        return "" if value is None else str(value)

    def number(self, *at: str | int, zero: bool = False) -> float | None:
        """Return a positive number, or 0 with ``zero``; None if the service chooses it."""
        value = self.get(*at)
        if value in SERVICE_DECIDES:
            self.remark(at, "left out: the service chooses a value")
        if value is None or value in SERVICE_DECIDES:
            return None
        try:  # numbers in quotes count: PyYAML reads 1e-4 as text, so many write "1e-4"
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
            what = f"is {_shown(value)!r} where a number is needed"
            self._add_problem(at, what, "write a number")
            return None
        return number

    def whole(self, *at: str | int) -> int | None:
        """Return a whole number; a fraction is rounded up, with a remark."""
        number = self.number(*at)
        if number is not None and number != int(number):
            self.remark(at, f"only whole numbers are possible: {math.ceil(number)}")
        return None if number is None else math.ceil(number)

    def write(self, key: str, value: Written, *origins: KeyPath, note: str = "") -> None:
        """Add a key to the spec; ``origins`` are the keys it was made from."""
        given = [origin for origin in origins if self.get(*origin) is not None]
        self._done.update(given)
        named = ", ".join(map(_dotted, given))
        note = ": ".join(filter(None, (named, note)))
        self.lines.append(SpecLine(key, value, note))

    def keep(self, at: KeyPath, why: str) -> None:
        """Record that a key needs no line in the spec, because it is the default here."""
        if self.get(*at) is not None:
            self._done.add(at)
            self.same.append(self._remark(at, why))

    def remark(self, at: KeyPath, why: str) -> None:
        """Record that a key and its content have no counterpart or a different meaning."""
        if self.get(*at) is not None:
            self._done.add(at)
            self.remarks.append(self._remark(at, why))

    def remark_rest(self, reasons: Reasons) -> None:
        """Add a remark for every other key: the first reason with a pattern that matches."""
        for at, value in self._unrecorded((), self.document.value):
            key = _dotted(at)
            found = (
                why
                for why, patterns in reasons
                if any(fnmatchcase(key, pattern) for pattern in patterns.split())
            )
            is_empty = value is None or value in ("", [], {})
            self.remarks.append(self._remark(at, EMPTY if is_empty else next(found, UNKNOWN)))

    def _unrecorded(self, at: KeyPath, value: Value) -> Iterator[tuple[KeyPath, Value]]:
        if at and at in self._done:
            return
        if isinstance(value, dict) and value:
            for name, item in value.items():
                yield from self._unrecorded((*at, name), item)
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for index, item in enumerate(value):
                yield from self._unrecorded((*at, index), item)
        else:
            yield at, value

    def _remark(self, at: KeyPath, why: str) -> Remark:
        key = _dotted(at)
        is_secret = any(word in key for word in _SECRETS)
        return Remark(key, HIDDEN if is_secret else _shown(self.get(*at)), why)

    def _add_problem(self, at: KeyPath, what: str, fix: str) -> None:
        what = f"{_dotted(at)} {what}"
        self.problems.append(self.document.problem(at, what, fix, "bad-value"))


def read_source(path: Path) -> Document:
    """Read a file of another tool, JSON or YAML; nothing in it is taken from the environment.

    Raises:
        SpecError: It cannot be read, or is neither a JSON object nor a YAML mapping.
    """
    text = read_text(path)
    if text.lstrip()[:1] in ("{", "["):
        text = _json_as_yaml(path, text)
    document = parse_document(path, text)
    value = document.value
    if not isinstance(value, dict):
        fix = "save one job or one configuration in a file"
        raise SpecError([document.problem((), "is not a mapping of keys", fix, "bad-type")])
    jobs = value.get("data")
    if value.get("object") == "list" and isinstance(jobs, list):
        what = f"is a list of {len(jobs)} jobs"
        fix = f"save one of them, e.g. jq '.data[0]' {document.path} > job.json"
        raise SpecError([document.problem(("data",), what, fix, "bad-type")])
    return document


def _json_as_yaml(path: Path, text: str) -> str:
    """Check JSON, and replace surrogate pairs, which YAML does not have."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        what = f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        fix = "download it again from the service"
        problem = Problem(str(path), error.lineno, error.colno, what, fix, "syntax")
        raise SpecError([problem]) from None
    except (RecursionError, ValueError):
        problem = Problem(str(path), 1, 1, "is nested too deep", "save one job", "too-big")
        raise SpecError([problem]) from None
    return _SURROGATES.sub(lambda pair: bytes.fromhex(pair[1] + pair[2]).decode("utf-16-be"), text)


def _dotted(at: KeyPath) -> str:
    return ".".join(map(str, at))


def _shown(value: Any) -> str:
    match value:
        case None | dict() | []:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            text = ", ".join(map(_shown, value))
        case _:
            text = " ".join(str(value).split())
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
