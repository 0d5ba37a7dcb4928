"""The OpenAPI description: whole, and the same as what the door does."""

from __future__ import annotations

import re

from tuner.server import openapi
from tuner.server.methods import METHODS
from tuner.server.routes import ROUTES

DOCUMENT = openapi.document()
OPERATIONS = [
    (path, operation) for path, verbs in DOCUMENT["paths"].items() for operation in verbs.values()
]


def test_every_method_and_every_route_is_described():
    assert len(OPERATIONS) == len(ROUTES)
    names = {operation["operationId"] for _, operation in OPERATIONS}
    assert len(names) == len(OPERATIONS)
    assert names >= {method.short_name for method in METHODS.values()}


def test_each_name_in_a_path_is_a_parameter():
    for path, operation in OPERATIONS:
        named = [each["name"] for each in operation["parameters"] if each["in"] == "path"]
        assert named == re.findall(r"{(\w+)}", path)


def test_every_reference_leads_somewhere():
    schemas = DOCUMENT["components"]["schemas"]
    found = set(re.findall(rb'"\$ref":"#/components/schemas/([^"]+)"', openapi.document_json()))
    assert {each.decode() for each in found} <= set(schemas)
    assert "TunedModel" in schemas


def test_what_is_in_the_query_and_in_the_body_is_what_the_method_takes():
    operations = {operation["operationId"]: operation for _, operation in OPERATIONS}
    create = operations["CreateTunedModel"]
    assert [each["name"] for each in create["parameters"]] == ["tunedModelId"]
    body = create["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/TunedModel"}
    names = [each["name"] for each in operations["ListTunedModels"]["parameters"]]
    assert names == ["pageSize", "pageToken", "filter"]
    assert "requestBody" not in operations["GetTunedModel"]
    stream = operations["StreamGenerateContent"]["responses"]["200"]["content"]
    assert stream["application/json"]["schema"]["type"] == "array"
    assert "text/event-stream" in stream
