"""A job spec given as a dict, made the document that a YAML file would give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.errors import Problem
from tuner.yaml_source.document import Document
from tuner.yaml_source.nodes import MAX_DEPTH, Place

if TYPE_CHECKING:
    from tuner.yaml_source.nodes import KeyPath, Value

NAME = "spec"
"""What stands for the file in a Problem."""


def document_of(spec: Mapping[Any, Any]) -> Document:
    """The document of a dict with the keys of a spec file; what is wrong with it is among its problems.

    Values are taken as they are: ``${NAME}`` stays text, and paths are relative to the folder we are in.
    Every place is the name of its key: ``spec: hyperparameters.epoch_count``.
    """
    builder = _Builder()
    value = builder.build(spec, ())
    return Document(Path(NAME), value, builder.places, builder.places, tuple(builder.problems))


class _Builder:
    """Collects places and problems on its way down."""

    def __init__(self) -> None:
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []

    def build(self, value: Any, at: KeyPath) -> Value:
        self.places[at] = Place(_place(at), 0, 0)
        if len(at) >= MAX_DEPTH:
            self._refuse(at, f"is nested more than {MAX_DEPTH} deep")
            return None
        if isinstance(value, Mapping):
            return {str(key): self._item(key, item, at) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.build(item, (*at, index)) for index, item in enumerate(value)]
        return self._scalar(value, at)

    def _scalar(self, value: Any, at: KeyPath) -> Value:
        if hasattr(value, "dtype") and not getattr(value, "shape", ()):
            value = value.item()  # a number of numpy's, as a search over frames yields them
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, str):
            return str.__str__(value)
        if value is not None and not isinstance(value, bool | int | float):
            self._refuse(at, f"is a {type(value).__name__}, which no spec holds")
            return None
        return value

    def _item(self, key: Any, value: Any, at: KeyPath) -> Value:
        if not isinstance(key, str):
            self._refuse(at, f"has the key {key!r}, which is no text")
        return self.build(value, (*at, str(key)))

    def _refuse(self, at: KeyPath, what: str) -> None:
        fix = "use dicts, lists, texts, numbers, True, False and None, as docs/spec.md has them"
        self.problems.append(Problem(_place(at), 0, 0, what, fix, "wrong-type"))


def _place(at: KeyPath) -> str:
    name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at)
    return f"{NAME}: {name[1:]}" if name else NAME
