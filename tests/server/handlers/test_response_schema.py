from __future__ import annotations

import json

import pytest
from google.protobuf import json_format, struct_pb2

from tuner.engine import Form
from tuner.server.handlers import response_schema
from tuner.server.messages import raw

Config, Schema = raw("GenerationConfig"), raw("Schema")


def read(**fields):
    wrong = []
    form = response_schema.parse_form(Config(**fields), "", wrong)
    return {each.field: each.what for each in wrong} or form


def value(content):
    return json_format.ParseDict(content, struct_pb2.Value())


def schema_of(**schema):
    form = read(response_mime_type="application/json", response_schema=Schema(**schema))
    return json.loads(form.json_schema) if isinstance(form, Form) else form


def test_a_schema_becomes_a_json_schema():
    found = schema_of(
        type_="OBJECT",
        properties={
            "size": {"type_": "INTEGER", "format_": "int32", "description": "in mm"},
            "name": {"type_": "STRING", "min_length": 1, "max_length": 9, "pattern": "^a"},
            "kind": {"type_": "STRING", "format_": "enum", "enum": ["x", "y"], "nullable": True},
            "tags": {"type_": "ARRAY", "items": {"type_": "STRING"}, "max_items": 3},
            "when": {"any_of": [{"type_": "STRING", "format_": "date"}, {"type_": "NULL"}]},
        },
        required=["name"],
        property_ordering=["size", "name"],
    )

    assert found == {
        "type": "object",
        "properties": {
            "size": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
            "name": {"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^a"},
            "kind": {"anyOf": [{"type": "string", "enum": ["x", "y"]}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
            "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        },
        "required": ["name"],
        "additionalProperties": False,
    }
    assert list(found["properties"]) == ["size", "name", "kind", "tags", "when"]


@pytest.mark.parametrize("field", [*Schema.DESCRIPTOR.fields], ids=lambda field: field.name)
def test_every_field_of_a_schema_is_translated_or_an_annotation(field):
    values = {"type_": "STRING", "format_": "date", "nullable": True, "pattern": "a"}
    values |= {"enum": ["a"], "items": {}, "any_of": [{}], "properties": {"a": {}}}
    values |= {"required": ["a"], "property_ordering": ["a"]}
    values |= {"title": "a", "description": "a", "example": {"string_value": "a"}}
    values |= {"default": {"string_value": "a"}}
    numbers = {name: 3 for name in response_schema._KEYWORDS if name != "pattern"}

    found = schema_of(**{field.name: (values | numbers)[field.name]})

    binds_nobody = field.name in {"title", "description", "example", "default"}
    assert (found == {}) == binds_nobody


def test_every_problem_of_a_schema_is_reported_with_its_place():
    found = schema_of(
        type_="OBJECT",
        properties={"a": {"type_": "STRING", "format_": "zebra"}},
        required=["b"],
        property_ordering=["c"],
    )

    assert list(found) == [
        "response_schema.required",
        "response_schema.property_ordering",
        "response_schema.properties['a'].format",
    ]


def test_properties_of_a_json_schema_are_ordered():
    properties = {name: {} for name in "cab"}
    content = {"type": "object", "minProperties": 1, "properties": properties}
    schema = value(content | {"propertyOrdering": ["c"]})

    for field in response_schema.JSON_SCHEMAS:
        form = read(response_mime_type="application/json", **{field: schema})
        found = json.loads(form.json_schema)
        assert list(found["properties"]) == ["c", "a", "b"]
        assert found["minProperties"] == 1
        assert "propertyOrdering" not in found


def test_integers_in_a_json_schema_stay_integers():
    limits = {"type": "array", "maxItems": 3, "items": {"enum": [1, 2.5]}}
    form = read(response_mime_type="application/json", response_json_schema=value(limits))

    found = json.loads(form.json_schema)
    assert found == limits
    assert isinstance(found["maxItems"], int)


def test_json_without_a_schema_is_an_object_or_an_array():
    form = read(response_mime_type="application/json")

    assert json.loads(form.json_schema) == {"anyOf": [{"type": "object"}, {"type": "array"}]}


@pytest.mark.parametrize(
    "schema",
    [
        {"response_schema": Schema(type_="STRING", enum=["a", "b"])},
        {"response_json_schema": value({"enum": ["a", "b"]})},
    ],
)
def test_an_enum_gives_choices(schema):
    assert read(response_mime_type="text/x.enum", **schema) == Form(choices=("a", "b"))


TEXT = Schema(type_="STRING")
NAN = struct_pb2.Value(number_value=float("nan"))


@pytest.mark.parametrize(
    ("kind", "fields", "wrong"),
    [
        ("text/html", {}, "response_mime_type"),
        ("", {"response_schema": TEXT}, "response_schema"),
        ("text/x.enum", {}, "response_schema.enum"),
        ("text/x.enum", {"response_schema": Schema(enum=[""])}, "response_schema.enum"),
        (
            "application/json",
            {"response_schema": TEXT, "response_json_schema": value({})},
            "response_json_schema",
        ),
        ("application/json", {"response_json_schema": value("x")}, "response_json_schema"),
        ("application/json", {"response_json_schema": NAN}, "response_json_schema"),
    ],
)
def test_an_invalid_form_is_refused_by_name(kind, fields, wrong):
    assert list(read(response_mime_type=kind, **fields)) == [wrong]


def test_plain_text_has_no_form():
    assert response_schema.parse_form(Config(response_mime_type="text/plain"), "", []) is None
