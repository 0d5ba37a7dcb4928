"""An OpenAPI description of REST, generated from the methods, their routes and their messages."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import orjson
from google.protobuf.descriptor import FieldDescriptor as Proto
from google.rpc import status_pb2

from tuner.server.messages import PACKAGE
from tuner.server.protojson import WELL_KNOWN
from tuner.server.routes import ROUTES, VERSIONS, Route

if TYPE_CHECKING:
    Schema = dict[str, Any]

_SCALARS: dict[int, Schema] = {
    Proto.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    Proto.CPPTYPE_UINT32: {"type": "integer", "format": "uint32"},
    Proto.CPPTYPE_INT64: {"type": "string", "format": "int64"},
    Proto.CPPTYPE_UINT64: {"type": "string", "format": "uint64"},
    Proto.CPPTYPE_FLOAT: {"type": "number", "format": "float"},
    Proto.CPPTYPE_DOUBLE: {"type": "number", "format": "double"},
    Proto.CPPTYPE_BOOL: {"type": "boolean"},
    Proto.CPPTYPE_STRING: {"type": "string"},
}
_WELL_KNOWN_SCHEMAS: dict[str, Schema] = {
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "additionalProperties": True,
    },
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
}
_SECURITY_SCHEMES = {
    "header": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
    "query": {"type": "apiKey", "in": "query", "name": "key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}


def document() -> Schema:
    """Return the description, OpenAPI 3.1."""
    schemas: dict[str, Schema] = {}
    paths: dict[str, Schema] = {}
    for route in ROUTES:
        paths.setdefault(_path(route), {})[route.verb.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tuner",
            "version": version("tuner"),
            "summary": "Google's tuning API, google.ai.generativelanguage.v1beta, on your own machine",
        },
        "servers": [{"url": f"/{each}"} for each in VERSIONS],
        "security": [*({name: []} for name in _SECURITY_SCHEMES), {}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY_SCHEMES},
    }


@cache
def document_json() -> bytes:
    """Return the description as JSON."""
    return orjson.dumps(document())


def _path(route: Route) -> str:
    path, colon, custom = route.path.partition(":")
    parts = path.split("/")
    named = [
        f"{{{parts[at - 1].removesuffix('s')}}}" if each == "*" else each
        for at, each in enumerate(parts)
    ]
    return f"/{'/'.join(named)}{colon}{custom}"


def _operation(route: Route, schemas: dict[str, Schema]) -> Schema:
    method = route.method
    same_method = [each for each in ROUTES if each.method is method]
    response = _message(method.response.DESCRIPTOR, schemas)
    answer = _json(response)
    if method.streams:
        events = {"text/event-stream": {"schema": {"type": "string"}}}
        answer = _json({"type": "array", "items": response}) | events
    status = _message(status_pb2.Status.DESCRIPTOR, schemas)
    error = {"type": "object", "properties": {"error": status}, "required": ["error"]}
    described = {
        "operationId": f"{method.short_name}{same_method.index(route) or ''}",
        "tags": [method.name.partition("/")[0].rpartition(".")[2]],
        "parameters": [*_in_path(route), *_in_query(route)],
        "responses": {
            "200": {"description": "The answer.", "content": answer},
            "default": {"description": "An error.", "content": _json(error)},
        },
    }
    if route.body:
        kind = method.request.DESCRIPTOR
        if route.body != "*":
            kind = kind.fields_by_name[route.body].message_type
        described["requestBody"] = {"content": _json(_message(kind, schemas)), "required": True}
    return described


def _in_path(route: Route) -> list[Schema]:
    names = re.findall(r"\{(\w+)\}", _path(route))
    text = {"type": "string"}
    return [{"name": name, "in": "path", "required": True, "schema": text} for name in names]


def _in_query(route: Route) -> list[Schema]:
    """Return the fields that are neither in the path nor in the body."""
    bound = {route.field.partition(".")[0], route.body}
    fields = [] if route.body == "*" else route.method.request.DESCRIPTOR.fields
    parameters = [
        {"name": field.json_name, "in": "query", "schema": _field(field, {})}
        for field in fields
        if field.name not in bound
    ]
    if route.method.streams:
        formats = {"type": "string", "enum": ["json", "sse"]}
        parameters.append({"name": "alt", "in": "query", "schema": formats})
    return parameters


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _message(descriptor: Any, schemas: dict[str, Schema]) -> Schema:
    """Return a reference to the message's schema, and add it to ``schemas`` with all it needs."""
    if descriptor.full_name in WELL_KNOWN:
        return _WELL_KNOWN_SCHEMAS.get(descriptor.full_name, {})
    name = descriptor.full_name.removeprefix(f"{PACKAGE}.")
    if name not in schemas:
        schemas[name] = {"type": "object"}
        properties = {each.json_name: _field(each, schemas) for each in descriptor.fields}
        schemas[name]["properties"] = properties
    return {"$ref": f"#/components/schemas/{name}"}


def _field(field: Any, schemas: dict[str, Schema]) -> Schema:
    if not field.is_repeated:
        return _value(field, schemas)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        return {"type": "object", "additionalProperties": _value(value, schemas)}
    return {"type": "array", "items": _value(field, schemas)}


def _value(field: Any, schemas: dict[str, Schema]) -> Schema:
    if field.message_type is not None:
        return _message(field.message_type, schemas)
    if field.enum_type is not None:
        return {"type": "string", "enum": [each.name for each in field.enum_type.values]}
    return _SCALARS[field.cpp_type] | ({"format": "byte"} if field.type == Proto.TYPE_BYTES else {})
