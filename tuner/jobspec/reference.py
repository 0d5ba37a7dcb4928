"""The JSON Schema of a spec for editors, and docs/spec.md for people, both made from the schema classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from tuner.jobspec.schema import INT32, JobSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Node = Mapping[str, Any]

_TITLE = """\
# The job spec, key by key

<!-- Made by `tuner schema --markdown > docs/spec.md`; change tuner/jobspec/schema.py instead. -->

A job spec is a YAML file. [configs/full.yaml](../configs/full.yaml) shows every key in use,
`tuner validate` lists every error in one, and [spec.schema.json](spec.schema.json), which
`tuner schema` prints, lets an editor check it as you type.

- Paths are relative to the spec. A key that is left empty counts as not written.
- `${NAME}` and `${NAME:-default}` come from the environment; `$$` is one dollar sign. Unquoted, the
  inserted value is a number if it looks like one; in quotes it stays text.
- YAML is read as people mean it: `1e-4` is a number; `no`, `2026-11-22`, `007` and `0x1F` are texts;
  a repeated key is an error.
- `--set key=value` on the command line overrides the file, with dots between keys and list items
  counted from 0: `--set hyperparameters.epoch_count=3 --set permissions.0.role=WRITER`.
"""
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
}
_LIMITS = {
    "minimum": "at least {:g}",
    "exclusiveMinimum": "more than {:g}",
    "maximum": "at most {:g}",
    "exclusiveMaximum": "less than {:g}",
    "maxLength": "at most {} characters",
}


def json_schema(cls: type) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a class that declares keys, without references."""
    schema = TypeAdapter(cls).json_schema()
    schema.pop("description", None)  # the docstring
    plain: dict[str, Any] = _inline(schema, schema.get("$defs", {}))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **plain}


def spec_page() -> str:
    """Return docs/spec.md."""
    return "\n".join([_TITLE, *key_tables("", json_schema(JobSpec))])


def key_tables(prefix: str, schema: Node) -> Iterator[str]:
    """Yield the lines of a Markdown table of the keys of a mapping, then those of its sections."""
    if prefix:
        yield f"\n## `{prefix}`\n"
    yield "| key | value | default | |"
    yield "|---|---|---|---|"
    for name, node in schema["properties"].items():
        default = f"`{_plain(node['default'])}`" if "default" in node else ""
        if name in schema.get("required", ()):
            default = "**needed**"
        yield f"| `{name}` | {_value(node)} | {default} | {node['description']} |"
    for name, node in schema["properties"].items():
        section = keys_of(node)
        if section:
            brackets = "[]" if node.get("type") == "array" else ""
            yield from key_tables(f"{prefix}.{name}".lstrip(".") + brackets, section)


def keys_of(node: Node) -> Node | None:
    """Return the mapping that a key, or each item of its list, may hold; None for none."""
    for each in node.get("anyOf", [node]):
        if "properties" in each:
            found: Node = each
            return found
        if "items" in each and (inner := keys_of(each["items"])):
            return inner
    return None


def _value(node: Node) -> str:
    if "anyOf" in node:
        word, other = node["anyOf"]
        return f"{_value(word)}, or {'a list of them' if 'items' in other else _value(other)}"
    if "items" in node:
        return f"a list of {_value(node['items'])}"
    if "properties" in node:
        return "keys, below"
    if "enum" in node:
        return ", ".join(f"`{option}`" for option in node["enum"])
    limits = [
        words.format(node[name])
        for name, words in _LIMITS.items()
        if node.get(name, INT32) != INT32
    ]
    return ", ".join([_TYPES[node["type"]], *limits])


def _plain(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _inline(node: Any, definitions: Node) -> Any:
    """Replace references, and drop what only repeats names, docstrings and Python's defaults."""
    if isinstance(node, list):
        return [_inline(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    node = {name: each for name, each in node.items() if name not in ("$defs", "title")}
    if reference := node.pop("$ref", ""):
        definition = definitions[reference.rpartition("/")[2]]
        node = {name: definition[name] for name in definition if name != "description"} | node
        return _inline(node, definitions)
    if choices := node.pop("anyOf", []):
        choices = [each for each in choices if each != {"type": "null"}]  # empty: not written
        if len(choices) == 1:
            return _inline(choices[0] | node, definitions)
        node["anyOf"] = choices
    if isinstance(node.get("default"), dict | list) or node.get("default", 0) in (None, ""):
        del node["default"]
    keys = node.pop("properties", None)
    plain = {name: _inline(each, definitions) for name, each in node.items()}
    if keys is not None:
        plain["properties"] = {name: _inline(each, definitions) for name, each in keys.items()}
    return plain
