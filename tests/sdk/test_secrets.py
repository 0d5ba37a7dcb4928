"""What callers send stays out of everything the service and its processes write for people."""

from __future__ import annotations

import http.client
import json
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import pytest
from google.protobuf import json_format

from tests.sdk.process import serving
from tests.server.any_message import any_message
from tests.server.room import FULL_NAMES, new_model
from tuner.server import access
from tuner.server.messages import raw
from tuner.server.methods import METHODS
from tuner.server.routes import ROUTES

pytestmark = pytest.mark.slow
MARK = "xyzzy-plugh"
TEXT = {"parts": [{"text": MARK}]}


def marked(message):
    """A message with the mark in every text of it, lists and messages inside included."""
    for field in message.DESCRIPTOR.fields:
        if field.type == field.TYPE_STRING and not field.is_repeated:
            setattr(message, field.name, MARK)
    for field, value in message.ListFields():
        kind = field.message_type
        if kind is None or kind.GetOptions().map_entry:
            continue
        if not kind.full_name.startswith("google.protobuf."):
            for each in value if field.is_repeated else [value]:
                marked(each)
    return message


def requests():
    """Of every method some that are wrong in every text, and a few that work."""
    chance = random.Random(20)
    for name, method in METHODS.items():
        for _ in range(2):
            yield name, marked(any_message(method.request, chance))
    prompt = {"model": "models/tiny", "contents": [TEXT], "system_instruction": TEXT}
    for name in ("GenerateContent", "StreamGenerateContent"):
        yield FULL_NAMES[name], raw("GenerateContentRequest")(**prompt)
    yield FULL_NAMES["CountTokens"], raw("CountTokensRequest")(model="models/tiny", contents=[TEXT])
    asked = raw("CreateTunedModelRequest")(**new_model("secrets"))
    for each in asked.tuned_model.tuning_task.training_data.examples.examples:
        each.text_input = each.output = MARK
    yield FULL_NAMES["CreateTunedModel"], asked


def over_grpc(address, key):
    """Send everything with a good key, and one call with a bad one. Returns the codes."""
    codes = []
    with grpc.insecure_channel(address) as channel:
        for shown in (key, f"tk-{MARK}"):
            for name, request in requests():
                kind = channel.unary_stream if METHODS[name].streams else channel.unary_unary
                words = {"metadata": [("x-goog-api-key", shown)], "timeout": 30}
                try:
                    answer = kind(f"/{name}")(request.SerializeToString(), **words)
                    list(answer)
                    codes.append("OK")
                except grpc.RpcError as error:
                    codes.append(error.code().name)
    return codes


def over_rest(address, key):
    """The same requests as JSON, the key in the query. Returns the statuses."""
    routes = {route.method.name: route for route in ROUTES}
    statuses = []
    for shown in (key, MARK):
        for name, request in requests():
            route = routes[name]
            path = f"/v1beta/{route.path.replace('*', MARK)}?key={shown}&x={MARK}"
            body = json_format.MessageToJson(request) if route.body else None
            with closing(http.client.HTTPConnection(address, timeout=30)) as link:
                link.request(route.verb, path, body)
                answer = link.getresponse()
                answer.read()
                statuses.append(answer.status)
    return statuses


def test_no_key_example_or_prompt_is_logged(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    key_id, key = access.create_key(home / "service", "ana@example.com")
    with serving(home, "--log-level", "debug") as service, ThreadPoolExecutor(1) as thread:
        hearing = thread.submit(service.process.stderr.read)  # a full pipe would stop the service
        codes = over_grpc(service.address, key)
        statuses = over_rest(service.addresses()["rest"], key)
        service.process.terminate()
        said = hearing.result()
    assert {"OK", "INVALID_ARGUMENT", "UNAUTHENTICATED"} <= set(codes)
    assert {400, 401} <= set(statuses)
    secret = key.rpartition(key_id)[2]
    logs = [*home.rglob("*.log"), *home.rglob("log")]
    written = {"stderr": said} | {str(path): path.read_text() for path in logs}
    for where, text in written.items():
        for each in (MARK, secret, "ana@example.com"):
            assert each not in text, where
    lines = [json.loads(line) for line in said.splitlines()]
    assert key_id in {line.get("key") for line in lines}
    for path in (home / "service").glob("*.db*"):
        assert secret.encode() not in path.read_bytes()
