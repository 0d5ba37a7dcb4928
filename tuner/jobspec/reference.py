"""The JSON Schema of a spec for editors, and docs/spec.md for people, made from its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner.jobspec.schema import JobSpec, declared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.jobspec.schema import Declared


_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}


def json_schema(cls: type) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the keys that ``cls`` declares."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_of_class(cls)}


def _of_class(cls: type) -> dict[str, Any]:
    keys = declared(cls)
    required = [name for name, item in keys.items() if item.is_required]
    return {
        "additionalProperties": False,
        "properties": {name: _of_key(item) for name, item in keys.items()},
        **({"required": required} if required else {}),
        "type": "object",
    }


def _of_key(item: Declared) -> dict[str, Any]:
    schema = _of_value(item)
    if item.many:
        many = {"items": schema, "type": "array"}
        schema = {"anyOf": [schema, many]} if item.key.single else many
    notes: dict[str, Any] = {"description": item.key.text, "title": item.name}
    if item.plain_default is not None:
        notes["default"] = item.plain_default
    return dict(sorted((schema | notes).items()))


def _of_value(item: Declared) -> dict[str, Any]:
    if item.options:
        return {"enum": list(item.options), "type": "string"}
    if item.has_keys:
        mapping, short = _of_class(item.kind), item.key.short
        if not short:
            return mapping
        return {"anyOf": [_of_value(declared(item.kind)[short]), mapping]}
    limits = {_LIMITS[name]: limit for name, limit in item.key.limits.items()}
    return {**limits, "type": _TYPES[item.kind]}


_TITLE = """\
# The job spec, key by key

<!-- Made by `tuner schema --markdown > docs/spec.md`; change tuner/jobspec/schema.py instead. -->

A job spec is a YAML file. [configs/full.yaml](../configs/full.yaml) shows every key in use,
`tuner validate` says everything that is wrong with one, and [spec.schema.json](spec.schema.json), which
`tuner schema` prints, lets an editor check it as you type.

- Paths are relative to the spec. A key that is left empty counts as not written.
- `${NAME}` and `${NAME:-default}` come from the environment; `$$` is one dollar sign. Unquoted, what
  was put in is a number where it looks like one; in quotes it stays text.
- YAML is read as people mean it: `1e-4` is a number; `no`, `2026-11-22`, `007` and `0x1F` are texts;
  a repeated key is an error.
- `--set key=value` on the command line goes over the file, with dots between keys and a list's
  items counted from 0: `--set hyperparameters.epoch_count=3 --set permissions.0.role=WRITER`.
"""
_TYPE_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_LIMIT_WORDS = {
    "ge": "at least {:g}",
    "gt": "more than {:g}",
    "le": "at most {:g}",
    "lt": "less than {:g}",
}
INT32 = 2**31 - 1


def reference() -> str:
    """The page, in Markdown."""
    return "\n".join([_TITLE, *key_table("", JobSpec)])


def key_table(prefix: str, cls: type) -> Iterator[str]:
    """The keys of one mapping, then those of the mappings in it."""
    keys = declared(cls).values()
    if prefix:
        yield f"\n## `{prefix}`\n"
    yield "| key | value | default | |"
    yield "|---|---|---|---|"
    for item in keys:
        default = "**needed**" if item.is_required else _default(item)
        yield f"| `{item.name}` | {_value(item)} | {default} | {item.key.text} |"
    for item in keys:
        if item.has_keys:
            yield from key_table(f"{prefix}.{item.name}".lstrip(".") + "[]" * item.many, item.kind)


def _value(item: Declared) -> str:
    if item.options:
        return "a list of " * item.many + ", ".join(f"`{option}`" for option in item.options)
    if item.has_keys:
        short = f"{_value(declared(item.kind)[item.key.short])}, or " if item.key.short else ""
        return f"{short}{'a list of ' if item.many else ''}keys, below"
    limits = item.key.limits
    words = [
        text.format(limits[name])
        for name, text in _LIMIT_WORDS.items()
        if name in limits and limits[name] != INT32
    ]
    if "max_length" in limits:
        words.append(f"at most {limits['max_length']} characters")
    kind = _TYPE_WORDS[item.kind]
    if item.many:
        kind = f"{kind}, or a list of them" if item.key.single else f"a list of {kind}"
    return ", ".join([kind, *words])


def _default(item: Declared) -> str:
    default = item.plain_default
    if default is None:
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
