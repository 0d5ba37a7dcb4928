"""YAML nodes made plain values, and where each of them stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import yaml

from tuner.errors import Problem
from tuner.yaml_source.scalars import NoValue, Scalar, expand, read_scalar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KeyPath: TypeAlias = tuple[str | int, ...]
Value: TypeAlias = "Scalar | list[Value] | dict[str, Value]"

PLAIN = "plain"
"""The tag of an unquoted scalar without a tag of its own."""
MAX_DEPTH = 50
MAX_NODES = 20_000

_TEXT = "tag:yaml.org,2002:str"
_KNOWN_TAGS = (PLAIN, _TEXT, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class Place(NamedTuple):
    """1-based; 0 where there is no such thing as a line, as on the command line."""

    path: str
    line: int
    column: int


class TooBig(Exception):
    """The document is nested too deep or grows too large through its aliases."""

    def __init__(self, what: str, mark: Any) -> None:
        super().__init__(what)
        self.line: int = mark.line + 1
        self.column: int = mark.column + 1


class Builder:
    """Builds the values of one source and collects their places and problems.

    Attributes:
        path: The file, or the option the text came from.
        keys, values: Where each key and each value stands.
        problems: Repeated keys, unset variables, tags.
    """

    def __init__(
        self, path: str, environ: Mapping[str, str] | None, *, has_lines: bool = True
    ) -> None:
        """Without ``environ`` ``${NAME}`` stays; ``has_lines`` is False for the command line."""
        self.path = path
        self.keys: dict[KeyPath, Place] = {}
        self.values: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []
        self._environ = environ
        self._has_lines = has_lines
        self._nodes = 0
        self._open: list[yaml.Node] = []

    def build(self, node: yaml.Node, at: KeyPath) -> Value:
        """The value of ``node``, which stands at ``at``.

        Raises:
            TooBig: It has too many values, which only aliases can bring about.
        """
        self._count(node)
        self.values[at] = self._place(node)
        if node.tag not in _KNOWN_TAGS:
            fix = "leave the tag out; a number is made text by quotes"
            self._complain(node, f"the tag {node.tag} is not understood", fix, "tag")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self._open.append(node)
        value = (
            self._mapping(node, at)
            if isinstance(node, yaml.MappingNode)
            else [self.build(item, (*at, index)) for index, item in enumerate(node.value)]
        )
        self._open.pop()
        return value

    def _mapping(self, node: yaml.MappingNode, at: KeyPath) -> dict[str, Value]:
        mapping: dict[str, Value] = {}
        for key_node, value_node in self._pairs(node):
            if not isinstance(key_node, yaml.ScalarNode):
                fix = "write a word before the colon; quote a value that begins with { or ["
                self._complain(key_node, "a key must be a word", fix, "bad-key")
                continue
            key = key_node.value
            if key in mapping:
                first = self.keys[*at, key]
                what = f"{key} is already set on line {first.line}"
                self._complain(key_node, what, "keep one of the two", "repeated-key")
                continue
            self.keys[*at, key] = self._place(key_node)
            mapping[key] = self.build(value_node, (*at, key))
        return mapping

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """A mapping's own pairs, then those that ``<<`` brings and that it does not override."""
        merged = [value for key, value in node.value if _is_merge(key)]
        own = [pair for pair in node.value if not _is_merge(pair[0])]
        yield from own
        taken = {key.value for key, _ in own if isinstance(key, yaml.ScalarNode)}
        for source in merged:
            for mapping in source.value if isinstance(source, yaml.SequenceNode) else [source]:
                self._count(mapping)
                if not isinstance(mapping, yaml.MappingNode):
                    fix = "write <<: *name, where name is the anchor of a mapping"
                    self._complain(mapping, "<< must bring in a mapping", fix, "bad-merge")
                    continue
                for key, value in self._pairs(mapping):
                    if key.value not in taken:
                        taken.add(key.value)
                        yield key, value

    def _scalar(self, node: yaml.ScalarNode) -> Scalar:
        try:
            text = node.value if self._environ is None else expand(node.value, self._environ)
        except NoValue as error:
            what, fix = error.args
            self._complain(node, what, fix, "no-value")
            return str(node.value)
        return read_scalar(text) if node.tag == PLAIN else text

    def _count(self, node: yaml.Node) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise TooBig(f"has more than {MAX_NODES:,} values", node.start_mark)
        if node in self._open or len(self._open) > MAX_DEPTH:
            raise TooBig("holds itself through an alias", node.start_mark)

    def _place(self, node: yaml.Node) -> Place:
        if not self._has_lines:
            return Place(self.path, 0, 0)
        return Place(self.path, node.start_mark.line + 1, node.start_mark.column + 1)

    def _complain(self, node: yaml.Node, what: str, fix: str, rule: str) -> None:
        self.problems.append(Problem(*self._place(node), what, fix, rule))


def _is_merge(key: yaml.Node) -> bool:
    return key.tag == PLAIN and key.value == "<<"
