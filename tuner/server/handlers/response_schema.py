"""The output format of a generation_config, as the engine's Form.

Google's Schema, a subset of OpenAPI's, becomes JSON Schema. Titles, descriptions, examples and defaults
constrain nothing; the model does not see them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from tuner.engine import Form
from tuner.server.api_errors import Violation
from tuner.server.handlers.converters import unsupported_fields

if TYPE_CHECKING:
    from tuner.server.messages import Message

JSON, ENUM, TEXT = "application/json", "text/x.enum", "text/plain"
JSON_SCHEMAS = ("response_json_schema", "response_json_schema_ordered")
SCHEMAS = ("response_schema", *JSON_SCHEMAS)
_ANY_JSON = {"anyOf": [{"type": "object"}, {"type": "array"}]}
_KEYWORDS = {
    *("pattern", "minimum", "maximum", "min_length", "max_length"),
    *("min_items", "max_items", "min_properties", "max_properties"),
}
_SUPPORTED = _KEYWORDS | {
    *("type_", "format_", "nullable", "enum", "items", "any_of"),
    *("properties", "required", "property_ordering"),
    *("title", "description", "example", "default"),
}
_TYPES = ("", "string", "number", "integer", "boolean", "array", "object", "null")
_FORMATS: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("", "enum", "float", "double")},
    "int32": {"minimum": -(2**31), "maximum": 2**31 - 1},
    "int64": {"minimum": -(10**18), "maximum": 10**18},  # as far as llguidance counts
    **{
        name: {"format": name}
        for name in (
            *("date-time", "date", "time", "duration", "email"),
            *("hostname", "ipv4", "ipv6", "uri", "uuid"),
        )
    },
}


def parse_form(config: Message, field: str, wrong: list[Violation]) -> Form | None:
    """Return the form, None for plain text; append a violation to ``wrong`` per invalid field."""
    kind = config.response_mime_type or TEXT
    given = [name for name in SCHEMAS if config.HasField(name)]
    if kind not in {TEXT, JSON, ENUM}:
        what = f"must be {TEXT}, {JSON} or {ENUM}; these models return text only"
        wrong.append(Violation(f"{field}response_mime_type", what))
    elif kind == TEXT and given:
        what = f"needs response_mime_type {JSON} or {ENUM}"
        wrong += [Violation(f"{field}{name}", what) for name in given]
    elif len(given) > 1:
        what = f"excludes {given[0]}: give one of them"
        wrong += [Violation(f"{field}{name}", what) for name in given[1:]]
    elif kind != TEXT:
        schema = _read_schema(config, given[0], f"{field}{given[0]}", wrong) if given else None
        return _form(kind, schema, f"{field}{(*given, SCHEMAS[0])[0]}", wrong)
    return None


def _translate(schema: Message, field: str, wrong: list[Violation]) -> dict[str, Any]:
    """Return the JSON Schema of a Schema."""
    wrong += unsupported_fields(schema, _SUPPORTED, f"{field}.")
    found: dict[str, Any] = {"type": _TYPES[schema.type_]} if schema.type_ else {}
    if schema.format_ not in _FORMATS:
        what = f"is {schema.format_!r}, and must be one of {', '.join(filter(None, _FORMATS))}"
        wrong.append(Violation(f"{field}.format", what))
    found |= _FORMATS.get(schema.format_, {})
    for each, value in schema.ListFields():
        if each.name in _KEYWORDS:
            found[each.json_name] = value
    if schema.enum:
        found["enum"] = list(schema.enum)
    if schema.HasField("items"):
        found["items"] = _translate(schema.items, f"{field}.items", wrong)
    if schema.any_of:
        places = ((f"{field}.any_of[{at}]", each) for at, each in enumerate(schema.any_of))
        found["anyOf"] = [_translate(each, place, wrong) for place, each in places]
    if schema.properties or schema.required or schema.property_ordering:
        found |= _properties(schema, field, wrong)
    return {"anyOf": [found, {"type": "null"}]} if schema.nullable else found


def _properties(schema: Message, field: str, wrong: list[Violation]) -> dict[str, Any]:
    for list_name in ("required", "property_ordering"):
        unknown = [name for name in getattr(schema, list_name) if name not in schema.properties]
        if unknown:
            what = f"names {', '.join(unknown)}, which are not in properties"
            wrong.append(Violation(f"{field}.{list_name}", what))
    inner = {
        name: _translate(schema.properties[name], f"{field}.properties[{name!r}]", wrong)
        for name in _ordered(schema.properties, schema.property_ordering)
        if name in schema.properties
    }
    return {"properties": inner, "required": list(schema.required), "additionalProperties": False}


def _read_schema(config: Message, name: str, field: str, wrong: list[Violation]) -> Any:
    schema = getattr(config, name)
    if name not in JSON_SCHEMAS:
        return _translate(schema, field, wrong)
    try:
        return _normalized(json_format.MessageToDict(schema))
    except (ValueError, json_format.SerializeToJsonError):
        wrong.append(Violation(field, "holds a number that JSON does not have"))
    return None


def _form(kind: str, schema: Any, field: str, wrong: list[Violation]) -> Form | None:
    if kind == JSON:
        schema = _ANY_JSON if schema is None else schema
        if isinstance(schema, dict):
            return Form(json_schema=json.dumps(schema))
        wrong.append(Violation(field, "must be an object, as in {'type': 'object'}"))
        return None
    choices = schema.get("enum") if isinstance(schema, dict) else None
    if isinstance(choices, list) and choices and all(isinstance(c, str) and c for c in choices):
        return Form(choices=tuple(choices))
    wrong.append(Violation(f"{field}.enum", f"{ENUM} needs the texts to choose from"))
    return None


def _normalized(schema: Any) -> Any:
    """Return a JSON Schema with ordered properties and integers: protobuf keeps neither."""
    if isinstance(schema, list):
        return [_normalized(each) for each in schema]
    if isinstance(schema, float) and schema.is_integer():
        return int(schema)
    if not isinstance(schema, dict):
        return schema
    found = {key: _normalized(value) for key, value in schema.items()}
    if isinstance(properties := found.get("properties"), dict):
        first = found.pop("propertyOrdering", [])
        names = _ordered(properties, first if isinstance(first, list) else [])
        found["properties"] = {name: properties[name] for name in names if name in properties}
    return found


def _ordered(names: Any, first: Any) -> list[str]:
    return list(dict.fromkeys([*first, *sorted(names)]))
