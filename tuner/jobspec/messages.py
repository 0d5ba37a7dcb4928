"""Errors of single values: found by type and limit, in the user's words and with a fix."""

from __future__ import annotations

import math
import operator
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.jobspec.rules import nearest
from tuner.jobspec.schema import declared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tuner.errors import Problem
    from tuner.jobspec.schema import Declared
    from tuner.yaml_source import Document, KeyPath


MAX_QUOTED = 40
"""Characters of a wrong value that are shown."""

OTHER_WORDS = {
    "api_key": "api_key_env",
    "completion": "output",
    "credentials": "credentials_file",
    "data": "training_data",
    "dataset": "training_data",
    "email": "email_address",
    "epochs": "epoch_count",
    "eval": "evaluation",
    "file": "path",
    "grantee": "email_address",
    "grants": "permissions",
    "input": "text_input",
    "lr": "learning_rate",
    "model": "base_model",
    "name": "job",
    "num_epochs": "epoch_count",
    "owner": "transfer_ownership",
    "project": "quota_project",
    "prompt": "text_input",
    "sharing": "permissions",
    "system": "instruction",
    "threshold": "at_least",
    "type": "grantee_type",
}
"""What people write for our keys, where spelling alone would not lead there."""

_TYPES: dict[type | None, tuple[str, str]] = {
    str: ("text", "put quotes around it"),
    int: ("a whole number", "write it without quotes, point or unit"),
    float: ("a number", "write it without quotes or unit, e.g. 0.001 or 1e-3"),
    bool: ("true or false", "write true or false, without quotes"),
    dict: ("keys with values", "write its keys below it, indented"),
    list: ("a list", "write each item on a line of its own, beginning with -"),
}
_BOUNDS = {"gt": "more than {}", "ge": "at least {}", "lt": "less than {}", "le": "at most {}"}


def complaints(document: Document, cls: type, faults: Iterable[Fault]) -> list[Problem]:
    """A problem for every fault that ``reading.read(cls, document.value)`` found."""
    return [
        document.problem(
            fault.at, *_complaint(cls, fault), fault.rule, key=fault.rule == "unknown-key"
        )
        for fault in faults
    ]


def check_section(cls: type, document: Document) -> tuple[Any, list[Problem]]:
    """Make a ``cls`` of a document: the instance and no problems, or None and all of them."""
    value, faults = read(cls, document.value)
    return value, complaints(document, cls, faults)


def _complaint(cls: type, fault: Fault) -> tuple[str, str]:
    """What is wrong, and a way out."""
    at, value = fault.at, fault.value
    name = named(at)
    match fault.rule:
        case "unknown-key":
            return _unknown(cls, at)
        case "missing-key":
            where = f" in {named(at[:-1])}" if at[:-1] else ""
            return f"{at[-1]} is missing{where}", f"add {_example(_declared(cls, at))}"
        case "wrong-type":
            wanted, fix = _TYPES[fault.wanted]
            if fault.wanted is str and "pattern" in _declared(cls, at).key.limits:
                fix = f"add the unit, e.g. {_declared(cls, at).key.example}"
            return f"{name} must be {wanted}, not {described(value)}", fix
        case "out-of-range":
            return _out_of_range(name, fault, _declared(cls, at))
        case _:
            return _text(name, fault, _declared(cls, at))


def _out_of_range(name: str, fault: Fault, item: Declared) -> tuple[str, str]:
    if not fault.bound:
        return f"{name} is too large a number", "write a smaller one"
    wanted = _BOUNDS[fault.bound].format(f"{item.key.limits[fault.bound]:.12g}")
    return f"{name} must be {wanted}, not {fault.value}", f"write a number of {wanted}"


def _text(name: str, fault: Fault, item: Declared) -> tuple[str, str]:
    value = fault.value
    match fault.rule:
        case "too-long":
            most = item.key.limits["max_length"]
            what = f"{name} has {len(str(value))} characters, at most {most} are allowed"
            return what, f"shorten it to {most} characters"
        case "empty":
            return f"{name} is empty", f"write {_example(item)}"
        case "bad-duration":
            what = f"{name} is {value!r}, which is not a length of time"
            return what, f"write e.g. {item.key.example}"
        case _:
            options = item.options
            near = nearest(str(value), options)
            what = f"{name} must be {listed(options)}, not {described(value)}"
            fix = f"did you mean {near}?" if near else f"write one of {', '.join(options)}"
            return what, fix


def _unknown(cls: type, at: KeyPath) -> tuple[str, str]:
    word = str(at[-1])
    known = list(declared(_class(cls, at[:-1])))
    other = OTHER_WORDS.get(word.lower())
    near = other if other in known else nearest(word, known)
    where = f" in {named(at[:-1])}" if at[:-1] else ""
    elsewhere = _home(cls, word)
    if near:
        fix = f"did you mean {near}?"
    elif elsewhere:
        fix = f"it belongs into {elsewhere}"
    else:
        fix = f"the keys here are {', '.join(known)}"
    return f"there is no key {word!r}{where}", fix


def _home(cls: type, word: str) -> str:
    """The mapping in which ``word`` would be a key, when it only stands in the wrong place."""
    if word in declared(cls):
        return "the top level"
    homes = [
        name
        for name, item in declared(cls).items()
        if item.has_keys and word in declared(item.kind)
    ]
    return homes[0] if homes else ""


def _class(cls: type, at: KeyPath) -> type:
    for key in at:
        if isinstance(key, str):
            cls = declared(cls)[key].kind
    return cls


def _declared(cls: type, at: KeyPath) -> Declared:
    *way, last = [key for key in at if isinstance(key, str)]
    return declared(_class(cls, tuple(way)))[last]


def _example(item: Declared) -> str:
    """A line or two of YAML that would do."""
    if not item.has_keys:
        return f"{item.name}: {item.key.example}"
    needed = [key for key in declared(item.kind).values() if key.is_required]
    return f"{item.name}: with {' and '.join(map(_example, needed))} below it"


def named(at: KeyPath) -> str:
    """A key path for people: ``permissions[0].role``."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at)
    return text.removeprefix(".") or "the spec"


def listed(words: Iterable[str]) -> str:
    """``a, b or c``."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def described(value: object) -> str:
    """A value and its type, briefly."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return repr(value) if len(value) <= MAX_QUOTED else f"{value[:MAX_QUOTED]!r}..."
        case list():
            return "a list"
        case dict():
            return "keys with values"
        case _:
            return "nothing"


_HOLDS = {"le": operator.le, "lt": operator.lt, "ge": operator.ge, "gt": operator.gt}


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
    for bound, holds in _HOLDS.items():
        if bound in limits and not holds(number, limits[bound]):
            return "out-of-range", bound
    return None
