"""What pydantic-core says about a value, in the user's words and with a way out."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from tuner.jobs.schema import declared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner.errors import Problem
    from tuner.jobs.document import Document
    from tuner.jobs.nodes import KeyPath
    from tuner.jobs.schema import Declared

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

_KINDS = {
    "string_type": ("text", "put quotes around it"),
    "int_type": ("a whole number", "write it without quotes, point or unit"),
    "float_type": ("a number", "write it without quotes or unit, e.g. 0.001 or 1e-3"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "dict_type": ("keys with values", "write its keys below it, indented"),
    "tuple_type": ("a list", "write each item on a line of its own, beginning with -"),
}
_BOUNDS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "at most {}"),
}


def complaints(document: Document, cls: type, errors: Iterable[dict[str, Any]]) -> list[Problem]:
    """A problem for every error that ``schema.validate(cls, document.value)`` gave."""
    return [_problem(document, cls, tuple(error["loc"]), error) for error in errors]


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of ``words`` that was probably meant, or an empty text."""
    by_lower = {known.lower(): known for known in words}
    lower = word.lower().replace("-", "_").replace(" ", "_")
    found = get_close_matches(lower, by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def _problem(document: Document, cls: type, at: KeyPath, error: dict[str, Any]) -> Problem:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    name = named(at)
    if kind == "extra_forbidden":
        return document.problem(at, *_unknown(cls, at), "unknown-key", key=True)
    if kind == "missing":
        where = f" in {named(at[:-1])}" if at[:-1] else ""
        fix = f"add {_example(_declared(cls, at))}"
        return document.problem(at, f"{at[-1]} is missing{where}", fix, "missing-key")
    if kind in _KINDS:
        wanted, fix = _KINDS[kind]
        if kind == "string_type" and "pattern" in _declared(cls, at).key.limits:
            fix = f"add the unit, e.g. {_declared(cls, at).key.example}"
        return document.problem(
            at, f"{name} must be {wanted}, not {described(value)}", fix, "wrong-type"
        )
    if kind in _BOUNDS:
        limit, words = _BOUNDS[kind]
        wanted = words.format(f"{context[limit]:.12g}")
        fix = f"write a number of {wanted}"
        return document.problem(at, f"{name} must be {wanted}, not {value}", fix, "out-of-range")
    return document.problem(at, *_text(name, kind, value, context, _declared(cls, at)))


def _text(
    name: str, kind: str, value: object, context: dict[str, Any], item: Declared
) -> tuple[str, str, str]:
    match kind:
        case "string_too_long":
            most = context["max_length"]
            what = f"{name} has {len(str(value))} characters, at most {most} are allowed"
            return what, f"shorten it to {most} characters", "too-long"
        case "string_too_short":
            return f"{name} is empty", f"write {_example(item)}", "empty"
        case "string_pattern_mismatch":
            what = f"{name} is {value!r}, which is not a length of time"
            return what, f"write e.g. {item.key.example}", "bad-duration"
        case "finite_number":
            return f"{name} is too large a number", "write a smaller one", "out-of-range"
        case _:
            options = item.options
            near = nearest(str(value), options)
            what = f"{name} must be {listed(options)}, not {described(value)}"
            fix = f"did you mean {near}?" if near else f"write one of {', '.join(options)}"
            return what, fix, "unknown-value"


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
