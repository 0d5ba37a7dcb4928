"""What is wrong with a value, in the user's words and with a way out."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from tuner.jobspec.schema import declared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner.errors import Problem
    from tuner.jobspec.reading import Fault
    from tuner.jobspec.schema import Declared
    from tuner.yaml_source.document import Document
    from tuner.yaml_source.nodes import KeyPath

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


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of ``words`` that was probably meant, or an empty text."""
    by_lower = {known.lower(): known for known in words}
    lower = word.lower().replace("-", "_").replace(" ", "_")
    found = get_close_matches(lower, by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


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
