"""Plain values made an instance of a class that declares its keys, or everything that is wrong with them."""

from __future__ import annotations

import math
import operator
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.jobspec.schema import declared

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.jobspec.schema import Declared
    from tuner.yaml_source.nodes import KeyPath

_BOUNDS = {"le": operator.le, "lt": operator.lt, "ge": operator.ge, "gt": operator.gt}


class Fault(NamedTuple):
    """What is wrong with one value.

    Attributes:
        at: Where it stands.
        rule: The broken one: ``unknown-key``, ``missing-key``, ``wrong-type``, ``unknown-value``,
            ``out-of-range``, ``empty``, ``too-long`` or ``bad-duration``.
        value: As written; None where there is none.
        wanted: Of a ``wrong-type`` the right one.
        bound: Of an ``out-of-range`` the limit, as ``Key`` calls it; empty when it is not finite.
    """

    at: KeyPath
    rule: str
    value: object = None
    wanted: type | None = None
    bound: str = ""


def read(cls: type, value: object) -> tuple[Any, list[Fault]]:
    """Make a ``cls`` of plain values: the instance and no faults, or None and all the faults."""
    reader = _Reader()
    return reader.mapping(cls, cls, value, ()), reader.faults


class _Reader:
    """Collects faults on its way down; a value with one is None."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def mapping(self, cls: type, build: Callable[..., Any], value: object, at: KeyPath) -> Any:
        """The keys that ``cls`` declares, handed to ``build``."""
        if not isinstance(value, dict):
            return self._refuse(Fault(at, "wrong-type", value, dict))
        before, known = len(self.faults), declared(cls)
        fields = {}
        for name, item in known.items():
            if name in value:
                fields[item.field] = self._key(item, value[name], (*at, name))
            elif item.is_required:
                self._refuse(Fault((*at, name), "missing-key"))
        for name in value:
            if name not in known:
                self._refuse(Fault((*at, name), "unknown-key"))
        return build(**fields) if len(self.faults) == before else None

    def _key(self, item: Declared, value: Any, at: KeyPath) -> Any:
        if not item.many:
            return self._value(item, value, at)
        if isinstance(value, list):
            return tuple(self._value(item, each, (*at, index)) for index, each in enumerate(value))
        if item.key.single:
            return (self._value(item, value, at),)
        return self._refuse(Fault(at, "wrong-type", value, list))

    def _value(self, item: Declared, value: Any, at: KeyPath) -> Any:
        if item.has_keys:
            if item.key.short and isinstance(value, str):
                value = {item.key.short: value}
            return self.mapping(item.kind, item.key.read or item.kind, value, at)
        options = item.members or item.key.options  # a role that nobody may grant is one still
        if options:
            is_one = isinstance(value, str) and value in options
            return item.kind(value) if is_one else self._refuse(Fault(at, "unknown-value", value))
        return self._scalar(item, value, at)

    def _scalar(self, item: Declared, value: Any, at: KeyPath) -> Any:
        """A whole number will do for one with a fraction."""
        kind, written, limits = item.kind, type(value), item.key.limits
        if written is not kind and (written, kind) != (int, float):
            return self._refuse(Fault(at, "wrong-type", value, kind))
        broken = _of_text(value, limits) if kind is str else _of_number(value, kind, limits)
        if broken:
            return self._refuse(Fault(at, broken[0], value, bound=broken[1]))
        return (item.key.read or kind)(value)

    def _refuse(self, fault: Fault) -> None:
        self.faults.append(fault)


def _of_text(text: str, limits: dict[str, Any]) -> tuple[str, str] | None:
    """The rule that a text breaks."""
    if len(text) < limits.get("min_length", 0):
        return "empty", ""
    if len(text) > limits.get("max_length", math.inf):
        return "too-long", ""
    fits = "pattern" not in limits or re.fullmatch(limits["pattern"], text)
    return None if fits else ("bad-duration", "")


def _of_number(number: float, kind: type, limits: dict[str, Any]) -> tuple[str, str] | None:
    """The rule that a number breaks, and which of its bounds."""
    if kind is float and not abs(number) <= sys.float_info.max:
        return "out-of-range", ""
    for bound, holds in _BOUNDS.items():
        if bound in limits and not holds(number, limits[bound]):
            return "out-of-range", bound
    return None
