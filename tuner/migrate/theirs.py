"""A foreign file while it is translated: what was made of each of its keys."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.jobspec.scaffold import SpecLine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from tuner.errors import Problem
    from tuner.jobspec.scaffold import Written
    from tuner.yaml_source import Document, KeyPath, Value

    Reasons: TypeAlias = Sequence[tuple[str, str]]

SERVICE_DECIDES = ("auto", "max")
"""Words that stand for a number the service chooses."""
MAX_SHOWN = 40
HIDDEN = "(not shown)"
_SECRETS = ("api_key", "hub_token", "api_token", "auth_token", "secret", "password")
UNKNOWN = "not known here, and without effect: see in its reference what it does"
EMPTY = "empty, so not set"


class Remark(NamedTuple):
    """What to know of a key of theirs.

    Attributes:
        key: With dots: ``hyperparameters.n_epochs``, ``datasets.0.path``.
        shown: Its value, shortened; empty for a mapping or list.
        why: One sentence, no full stop.
    """

    key: str
    shown: str
    why: str


class Theirs:
    """Gives the values of a foreign file and keeps account of them.

    Attributes:
        document: The file.
        spec_folder: Where the spec will be.
        lines, sames, remarks, steps: As in Translation.
        problems: Values that cannot be right.
    """

    def __init__(self, document: Document, spec_folder: Path) -> None:
        self.document = document
        self.spec_folder = spec_folder
        self.lines: list[SpecLine] = []
        self.sames: list[Remark] = []
        self.remarks: list[Remark] = []
        self.steps: list[str] = []
        self.problems: list[Problem] = []
        self._done: set[KeyPath] = set()

    def get(self, *at: str | int) -> Any:
        """The value at a path; None when there is none."""
        value: Any = self.document.value
        for step in at:
            if isinstance(value, dict):
                value = value.get(step)
            else:
                known = isinstance(value, list) and isinstance(step, int) and step < len(value)
                value = value[step] if known else None
        return value

    def text(self, *at: str | int) -> str:
        """A text; empty when there is none. Numbers are taken as they are written."""
        value = self.get(*at)
        if isinstance(value, dict | list):
            self._complain(at, "is no text", "write one text")
            return ""
        return "" if value is None else str(value)

    def number(self, *at: str | int, zero: bool = False) -> float | None:
        """A number above nothing, or also 0; None when it is left to the service."""
        value = self.get(*at)
        if value in SERVICE_DECIDES:
            self.remark(at, "left out: the service chooses, in its own way")
        if value is None or value in SERVICE_DECIDES:
            return None
        number = _number(value)
        if number is None or number < 0 or (number == 0 and not zero):
            self._complain(at, f"is {_shown(value)!r} where a number is needed", "write a number")
            return None
        return number

    def whole(self, *at: str | int) -> int | None:
        """A whole number; of a broken one the next, with a remark."""
        number = self.number(*at)
        if number is not None and number != int(number):
            self.remark(at, f"only whole numbers are taken: {math.ceil(number)}")
        return None if number is None else math.ceil(number)

    def write(
        self, key: str, value: Written, *sources: KeyPath, note: str = "", is_active: bool = True
    ) -> None:
        """Put a key into the spec that came from ``sources``."""
        given = [source for source in sources if self.get(*source) is not None]
        self._done.update(given)
        named = ", ".join(map(_dotted, given))
        self.lines.append(
            SpecLine(key, value, ": ".join(filter(None, (named, note))), (), is_active)
        )

    def same(self, at: KeyPath, why: str) -> None:
        """Say of a key that it holds here without a line of its own."""
        if self.get(*at) is not None:
            self._done.add(at)
            self.sames.append(self._remark(at, why))

    def remark(self, at: KeyPath, why: str) -> None:
        """Say of a key that it, and all in it, has no counterpart or changed its meaning."""
        if self.get(*at) is not None:
            self._done.add(at)
            self.remarks.append(self._remark(at, why))

    def step(self, text: str) -> None:
        """Something to do before the first run."""
        self.steps.append(text)

    def rest(self, reasons: Reasons) -> None:
        """Say something of every key that nothing was said of: the first pattern that fits."""
        for at, value in self._left((), self.document.value):
            if value is None or value in ("", [], {}):
                self.remarks.append(self._remark(at, EMPTY))
                continue
            key = _dotted(at)
            why = next((why for pattern, why in reasons if fnmatchcase(key, pattern)), UNKNOWN)
            self.remarks.append(self._remark(at, why))

    def _left(self, at: KeyPath, value: Value) -> Iterator[tuple[KeyPath, Value]]:
        """The leaves that are not accounted for."""
        if at and at in self._done:
            return
        if isinstance(value, dict) and value:
            for name, item in value.items():
                yield from self._left((*at, name), item)
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for index, item in enumerate(value):
                yield from self._left((*at, index), item)
        else:
            yield at, value

    def _remark(self, at: KeyPath, why: str) -> Remark:
        key = _dotted(at)
        is_secret = any(word in key for word in _SECRETS)
        return Remark(key, HIDDEN if is_secret else _shown(self.get(*at)), why)

    def _complain(self, at: KeyPath, what: str, fix: str) -> None:
        key = _dotted(at)
        self.problems.append(self.document.problem(at, f"{key} {what}", fix, "bad-value"))


def _dotted(at: KeyPath) -> str:
    return ".".join(map(str, at))


def _number(value: Any) -> float | None:
    """Numbers in quotes count: ``"1e-4"`` is common where YAML's own reader makes it text."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


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
