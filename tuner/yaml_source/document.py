"""A YAML file that remembers the line and column of every key and value."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from tuner.errors import Problem, SpecError
from tuner.yaml_source.nodes import MAX_DEPTH, PLAIN, Builder, Place, TooBig, Value
from tuner.yaml_source.syntax import not_text, not_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tuner.yaml_source.nodes import KeyPath

_ELSEWHERE = "name the spec here: examples stand in a file of their own, training_data.path"
MAX_BYTES = 1024 * 1024

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser is eleven times as fast, and missing where PyYAML was built without it."""


class Document(NamedTuple):
    """A YAML file, and whatever ``--set`` changed in it.

    Attributes:
        path: As the user named it.
        value: Plain dicts, lists and scalars; None when the file is empty.
        keys: Where each key stands.
        values: Where each value stands, the whole document at ``()``.
        problems: What is wrong already: repeated keys, unset variables, tags.
    """

    path: Path
    value: Value
    keys: dict[KeyPath, Place]
    values: dict[KeyPath, Place]
    problems: tuple[Problem, ...] = ()

    def problem(
        self, at: KeyPath, what: str, fix: str = "", rule: str = "", *, key: bool = False
    ) -> Problem:
        """An error at the value at ``at``, or its ``key``, or the nearest that holds it."""
        places = self.keys if key else self.values
        while at and at not in places:
            at, places = at[:-1], self.values
        place = places.get(at) or Place(str(self.path), 1, 1)
        if not place.line:  # a dict's place names the key already
            what = what.removeprefix(f"{place.path.rpartition(': ')[2]} ")
        return Problem(place.path, place.line, place.column, what, fix, rule)


def read_document(path: Path, environ: Mapping[str, str] = os.environ) -> Document:
    """Read a YAML file.

    Raises:
        SpecError: The file cannot be read or is not one YAML document: exactly one problem.
    """
    builder = Builder(str(path), environ)
    value = parse(builder, read_text(path, _ELSEWHERE))
    return Document(path, value, builder.keys, builder.values, tuple(builder.problems))


def below(document: Document, at: KeyPath) -> Document:
    """What stands at ``at`` as a document of its own, its problems left behind."""
    value: Any = document.value
    for key in at:
        value = value[key]
    keys, values = (
        {path[len(at) :]: place for path, place in places.items() if path[: len(at)] == at}
        for places in (document.keys, document.values)
    )
    return Document(document.path, value, keys, values)


def parse(builder: Builder, text: str, at: KeyPath = ()) -> Value:
    """Turn YAML into plain values; their places, below ``at``, are left in ``builder``.

    Raises:
        SpecError: It is not one YAML document: exactly one problem.
    """
    try:
        _refuse_depth(text)
        loader = _Loader(text)
        # In place of YAML 1.1's types: unquoted is told from quoted, scalars.py does the rest.
        loader.yaml_implicit_resolvers = {None: [(PLAIN, re.compile(""))]}
        node = loader.get_single_node()
        return builder.build(node, at) if node else None
    except yaml.YAMLError as error:
        raise SpecError([not_yaml(builder.path, text, error)]) from None
    except TooBig as error:
        fix = "write the values out: a spec needs few anchors and little depth"
        problem = Problem(builder.path, error.line, error.column, str(error), fix, "too-big")
        raise SpecError([problem]) from None


def read_text(path: Path, fix: str) -> str:
    """The text of a small file; ``fix`` says what to do with one that is too large.

    Raises:
        SpecError: It cannot be read, or is no text: exactly one problem.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        what = f"cannot be read: {(error.strerror or str(error)).lower()}"
        problem = Problem(str(path), 0, 0, what, "check the path", "unreadable")
        raise SpecError([problem]) from None
    if len(content) > MAX_BYTES:
        what = f"{len(content):,} bytes are too many for a job; at most {MAX_BYTES:,} are read"
        raise SpecError([Problem(str(path), 0, 0, what, fix, "too-big")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError([not_text(str(path), error)]) from None


def _refuse_depth(text: str) -> None:
    """Composing recurses in C, where too deep a document would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise TooBig(f"is nested more than {MAX_DEPTH} deep", event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
