"""The keys that a class declares as JSON Schema, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner.jobspec.schema import declared

if TYPE_CHECKING:
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
