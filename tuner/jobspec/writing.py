"""A spec as text: its keys in the order of the reference, each with a comment beside it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from tuner.jobspec.keys import JobSpec
from tuner.jobspec.schema import declared
from tuner.yaml_source.scalars import Scalar, read_scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Written: TypeAlias = "Scalar | Sequence[Scalar] | Mapping[str, Scalar]"

_PLAIN = re.compile(r"[A-Za-z_./][\w ./+@-]*(?<! )", re.ASCII)
"""Texts that YAML reads as they stand; others are put in quotes."""


class Line(NamedTuple):
    """One key of a spec.

    Attributes:
        key: With dots: ``hyperparameters.epoch_count``.
        value: A list or mapping is written on the same line.
        note: The comment beside it.
        above: The comment over it, a line each.
        is_active: Otherwise the key is commented out.
    """

    key: str
    value: Written
    note: str = ""
    above: tuple[str, ...] = ()
    is_active: bool = True


def render(head: Iterable[str], lines: Iterable[Line]) -> str:
    """The text of a spec that opens with the comment ``head``; each key is given once."""
    rows = [f"# {_on_one_line(text)}".rstrip() for text in head]
    opened: list[str] = []
    for line in sorted(lines, key=lambda line: _position(line.key)):
        *parents, name = line.key.split(".")
        for depth, parent in enumerate(parents):
            if opened[: depth + 1] != parents[: depth + 1]:
                rows.append(f"{'  ' * depth}{parent}:")
        opened = parents
        rows += _rows("  " * len(parents), name, line)
    return "\n".join(rows) + "\n"


def _rows(indent: str, name: str, line: Line) -> list[str]:
    mark = "" if line.is_active else "# "
    note = f"  # {_on_one_line(line.note)}" if line.note else ""
    above = [f"{indent}# {_on_one_line(text)}" for text in line.above]
    return [*above, f"{indent}{mark}{name}: {_value(line.value)}{note}"]


def _on_one_line(text: str) -> str:
    """The name of a file, or a value of theirs, may hold what ends a comment."""
    return " ".join(text.splitlines())


def _position(key: str) -> list[float]:
    """Where a key stands in the reference, but for the data, which come after the model."""
    cls: type = JobSpec
    position: list[float] = []
    for name in key.split("."):
        keys = declared(cls)
        order = list(keys)
        is_late = name == "training_data"
        position.append(order.index("hyperparameters") - 0.5 if is_late else order.index(name))
        cls = keys[name].kind
    return position


def _value(value: Written) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_value(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)


def _text(text: str) -> str:
    """As our own reader takes it back: a word like ``no`` stays text, a dollar sign is doubled."""
    text = text.replace("$", "$$")
    if _PLAIN.fullmatch(text) and read_scalar(text) == text:
        return text
    quoted = json.dumps(text, ensure_ascii=False)  # YAML takes more for line ends than JSON does
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in quoted)
