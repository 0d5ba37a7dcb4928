"""Errors of single keys and values: file:line:column, what is wrong, and a fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from tuner.jobspec.reference import json_schema, keys_of
from tuner.jobspec.rules import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

    from tuner.errors import Problem
    from tuner.jobspec.reference import Node
    from tuner.yaml_source import Document, KeyPath

_T = TypeVar("_T")

MAX_QUOTED = 40
"""Characters of a wrong value that are shown."""

SYNONYMS = {
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
"""Other names that users write for our keys, where similarity alone would not find the key."""

_TYPES = {
    "string_type": ("text", "put quotes around it"),
    "int_type": ("a whole number", "write it without quotes, point or unit"),
    "float_type": ("a number", "write it without quotes or unit, e.g. 0.001 or 1e-3"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "dataclass_type": ("keys with values", "write its keys below it, indented"),
    "tuple_type": ("a list", "write each item on its own line, starting with -"),
}
"""By the name of pydantic's error: what is wanted, and a fix."""
_BOUNDS = {
    "greater_than": ("more than {}", "gt"),
    "greater_than_equal": ("at least {}", "ge"),
    "less_than": ("less than {}", "lt"),
    "less_than_equal": ("at most {}", "le"),
}


def check_section(cls: type[_T], document: Document) -> tuple[_T | None, list[Problem]]:
    """Read a document as a class that declares keys; return the instance, or None and all problems."""
    try:
        return read_section(cls, document.value), []
    except ValidationError as error:
        schema = json_schema(cls)
        return None, [_problem(document, schema, each) for each in error.errors(include_url=False)]


def read_section(cls: type[_T], value: object) -> _T:
    """Read plain values as a class that declares keys; pydantic raises ValidationError."""
    return TypeAdapter(cls).validate_python(value, by_alias=True, by_name=False)


def named(at: KeyPath) -> str:
    """Return a key path for people: ``permissions[0].role``."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at)
    return text.removeprefix(".") or "the spec"


def listed(words: Iterable[str]) -> str:
    """Return ``a, b or c``."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def described(value: object) -> str:
    """Return a value and its type, briefly."""
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


def _problem(document: Document, schema: Node, error: ErrorDetails) -> Problem:
    at, kind = error["loc"], error["type"]
    while at and isinstance(at[-1], int) and at not in document.values:
        at = at[:-1]  # one value in place of a list
    if kind == "unexpected_keyword_argument":
        return document.problem(at, *_unknown(schema, at), "unknown-key", key=True)
    node = _node(schema, at)
    if kind == "missing":
        what = f"{at[-1]} is missing{_inside(at)}"
        fix = f"add {_example(str(at[-1]), node)}"
        return document.problem(at, what, fix, "missing-key")
    what, fix, rule = _wrong_value(named(at), str(at[-1]) if at else "", node, error)
    return document.problem(at, what, fix, rule)


def _wrong_value(name: str, key: str, node: Node, error: ErrorDetails) -> tuple[str, str, str]:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    what = fix = rule = ""
    if kind == "finite_number" or (kind == "float_type" and is_number):
        what, fix, rule = f"{name} is too large a number", "write a smaller one", "out-of-range"
    elif kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        wanted = words.format(f"{context[bound]:.12g}")
        what, rule = f"{name} must be {wanted}, not {value}", "out-of-range"
        fix = f"write a number of {wanted}"
    elif kind in ("enum", "literal_error"):
        options = node["enum"]
        near = nearest(str(value), options)
        what, rule = f"{name} must be {listed(options)}, not {described(value)}", "unknown-value"
        fix = f"did you mean {near}?" if near else f"write one of {', '.join(options)}"
    elif kind == "string_too_short":
        what, fix, rule = f"{name} is empty", f"write {_example(key, node)}", "empty"
    elif kind == "string_too_long":
        most = context["max_length"]
        what = f"{name} has {len(value)} characters, at most {most} are allowed"
        fix, rule = f"shorten it to {most} characters", "too-long"
    elif kind == "string_pattern_mismatch":
        what = f"{name} is {value!r}, which is not a duration"
        fix, rule = f"write e.g. {node['examples'][0]}", "bad-duration"
    else:
        wanted, fix = _TYPES[kind]
        what, rule = f"{name} must be {wanted}, not {described(value)}", "wrong-type"
        if "pattern" in node:
            fix = f"add the unit, e.g. {node['examples'][0]}"
    return what, fix, rule


def _unknown(schema: Node, at: KeyPath) -> tuple[str, str]:
    word = str(at[-1])
    keys: Mapping[str, Any] = (keys_of(_node(schema, at[:-1])) or {})["properties"]
    synonym = SYNONYMS.get(word.lower())
    near = synonym if synonym in keys else nearest(word, keys)
    top = schema["properties"]
    nested = ((name, keys_of(node)) for name, node in top.items())
    sections = (name for name, section in nested if section and word in section["properties"])
    elsewhere = "the top level" if word in top else next(sections, "")
    if near:
        fix = f"did you mean {near}?"
    elif elsewhere:
        fix = f"move it to {elsewhere}"
    else:
        fix = f"the allowed keys are {', '.join(keys)}"
    return f"there is no key {word!r}{_inside(at)}", fix


def _inside(at: KeyPath) -> str:
    return f" in {named(at[:-1])}" if at[:-1] else ""


def _node(schema: Node, at: KeyPath) -> Node:
    node = schema
    for key in at:
        if isinstance(key, str):
            node = (keys_of(node) or {})["properties"][key]
        else:
            node = next(each["items"] for each in node.get("anyOf", [node]) if "items" in each)
    return node


def _example(key: str, node: Node) -> str:
    section = keys_of(node)
    if not section:
        return f"{key}: {node.get('examples', [''])[0]}"
    examples = [_example(name, section["properties"][name]) for name in section["required"]]
    return f"{key}: with {' and '.join(examples)} below it"
