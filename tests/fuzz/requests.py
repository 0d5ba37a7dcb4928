"""Requests nobody should send: nearly right ones, broken ones, and noise, each made from its number.

Half of them begin as a request that works and have a field or two changed by chance, so that they
come far; the others are filled by chance altogether.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from google.protobuf import json_format

from tests.server.any_message import any_message
from tests.server.room import new_model
from tuner.server.methods import METHODS
from tuner.server.routes import ROUTES

if TYPE_CHECKING:
    import random

MODEL = "tunedModels/fuzzed"
NAMES = (
    *("models/tiny", MODEL, "tunedModels/none", "tunedModels/-", "tunedModels/-/operations"),
    *(f"{MODEL}/operations/none", f"{MODEL}/permissions/none", "corpora/x", "models/none"),
    *("", "/", "models/", "tunedModels//", "..", "tunedModels/../x", "models/tiny\n", "\x00"),
    *("x" * 5000, "tunedModels/é", "tunedModels/A", "a/b/c/d/e/f/g/h/i/j/k/l"),
)
TEXT = {"parts": [{"text": "hello"}]}
PASSAGES = {"passages": [{"id": "a", "content": TEXT}]}
SHORT = {"max_output_tokens": 4}
RIGHT = {
    "CreateTunedModel": new_model(None),
    "UpdateTunedModel": {"tuned_model": {"name": MODEL, "description": "new"}},
    "CreatePermission": {
        "parent": MODEL,
        "permission": {"grantee_type": 3, "role": 3},
    },
    "UpdatePermission": {"permission": {"name": f"{MODEL}/permissions/none", "role": 2}},
    "ListPermissions": {"parent": MODEL},
    "GenerateContent": {"model": MODEL, "contents": [TEXT], "generation_config": SHORT},
    "StreamGenerateContent": {"model": MODEL, "contents": [TEXT], "generation_config": SHORT},
    "CountTokens": {"model": "models/tiny", "contents": [TEXT]},
    "EmbedContent": {"model": "models/tiny", "content": TEXT},
    "BatchEmbedContents": {"model": "models/tiny", "requests": [{"content": TEXT}]},
    "GenerateAnswer": {
        "model": "models/tiny",
        "contents": [TEXT],
        "inline_passages": PASSAGES,
        "answer_style": 1,
    },
}
METADATA = (
    *(("x-goog-api-key", "tk-x"), ("authorization", "Bearer "), ("authorization", "Basic eA==")),
    *(("x-goog-request-params", "name=%2F..%2F"), ("odd-bin", b"\x00\xff"), ("odd", "v" * 4000)),
    *(("x-goog-api-key", ""), ("x-goog-user-project", "p")),
)
VERBS = ("GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "TRACE", "BREW")
PATHS = (
    *("/", "//", "/v1beta", "/v1beta/", "/v1/models/..", "/v1beta/models/%2e%2e", "/v9/models"),
    *("/v1beta/tunedModels/a%2Fb", "/v1beta/%ff%fe", "/healthz", "/metrics", "/openapi.json"),
    *("/v1beta/models/tiny:nothing", "/v1beta/models/tiny:", "*", "/v1beta/corpora/x"),
    *("/v1beta/" + "a/" * 300, "/v1beta/models?pageSize=x", "/v1beta/models?pageSize=1&&=&%"),
    *("/v1beta/tunedModels?key=tk-x", "/v1beta/models?alt=proto", "/v1beta/models?$alt=json;x"),
)
HEADERS = (
    *("content-type: text/plain", "content-encoding: gzip", "accept: */*;q=nan", "expect: x"),
    *("x-goog-api-key: tk-x", "authorization: Bearer", "content-length: -1", "content-length: 9e9"),
    *("transfer-encoding: chunked", "transfer-encoding: x", "x-long: " + "v" * 30_000),
    *(
        "host: evil.example",
        "origin: http://evil.example",
        "no colon",
        ": no name",
        "odd\x00: 1",
        "connection: upgrade",
        "upgrade: websocket",
    ),
)
JSON_NOISE = (
    *(b"", b"{", b"null", b"[]", b"1e999", b'{"a":}', b'"\\ud800"', b'{"a":1,"a":2}', b"\xff\xfe"),
    *(b"[" * 20_000, b'{"a":' * 2_000, b"{,}", b"NaN", b'{"model": "\\u0000"}', b"\x00" * 100),
)


@dataclass(frozen=True)
class GrpcRequest:
    method: str
    body: bytes
    metadata: tuple[tuple[str, str | bytes], ...] = ()


@dataclass(frozen=True)
class HttpRequest:
    """``raw`` is what goes down the socket; it is closed at once where nobody waits for an answer."""

    raw: bytes
    waits: bool = True


def grpc_request(chance: random.Random) -> GrpcRequest:
    name = chance.choice(list(METHODS))
    body = message(METHODS[name], chance).SerializeToString()
    if chance.random() < 0.25:
        body = damaged(body, chance)
    if chance.random() < 0.02:
        name += "s"
    return GrpcRequest(name, body, tuple(chance.sample(METADATA, chance.choice((0, 0, 1, 3)))))


def http_request(chance: random.Random) -> HttpRequest:
    route = chance.choice(ROUTES)
    asked = message(route.method, chance)
    body = written(asked, chance) if route.body else b""
    verb = route.verb if chance.random() < 0.9 else chance.choice(VERBS)
    path = chance.choice(PATHS) if chance.random() < 0.2 else route_path(route.path, chance)
    lines = [f"{verb} {path} HTTP/1.1", "host: localhost", "connection: close"]
    if chance.random() < 0.2:
        lines += chance.sample(HEADERS, 2)
    if "transfer-encoding: chunked" in lines:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    elif not any(line.startswith("content-length") for line in lines):
        lines.append(f"content-length: {len(body)}")
    raw = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
    if chance.random() < 0.05:
        return HttpRequest(raw[: chance.randrange(len(raw))], waits=False)
    return HttpRequest(raw, waits=chance.random() < 0.95)


def message(method, chance):
    """A request of a method."""
    if chance.random() < 0.5:
        found = any_message(method.request, chance)
    else:
        found = method.request(**RIGHT.get(method.short_name, {}))
        for _ in range(chance.choice((0, 1, 1, 2))):
            change(found, chance)
    field = method.request.DESCRIPTOR.fields_by_name.get(method.about.partition(".")[0] or "name")
    if field is not None and field.message_type is None and chance.random() < 0.7:
        setattr(found, field.name, chance.choice(NAMES))
    return found


def change(found, chance):
    """Replace one field of a message, or of one inside it, by chance."""
    inside = [value for field, value in found.ListFields() if is_message(field)]
    if inside and chance.random() < 0.6:
        change(chance.choice(inside), chance)
        return
    field = chance.choice(found.DESCRIPTOR.fields)
    other = any_message(type(found), chance)
    for each, _ in other.ListFields():
        if each.name != field.name:
            other.ClearField(each.name)
    found.ClearField(field.name)
    found.MergeFrom(other)


def is_message(field):
    """Whether a field is one message of ours; Google's own have rules between their fields."""
    kind = field.message_type
    own = kind is not None and not kind.full_name.startswith("google.protobuf.")
    return own and not field.is_repeated


def damaged(body: bytes, chance: random.Random) -> bytes:
    """Cut short, with bytes changed, with fields nobody knows, or nested without end."""
    match chance.randrange(4):
        case 0:
            return body[: chance.randrange(len(body) + 1)]
        case 1:
            found = bytearray(body or b"\x00")
            for _ in range(3):
                found[chance.randrange(len(found))] = chance.randrange(256)
            return bytes(found)
        case 2:
            return body + chance.randbytes(chance.randrange(40))
        case _:
            for _ in range(120):
                body = b"\x0a" + varint(len(body)) + body
            return body


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def written(asked, chance: random.Random) -> bytes:
    """A message as JSON, well written or not; the field of the path and the body are not told apart."""
    if chance.random() < 0.15:
        return chance.choice(JSON_NOISE)
    as_is, numbers = chance.random() < 0.5, chance.random() < 0.5
    content = json_format.MessageToDict(
        asked, preserving_proto_field_name=as_is, use_integers_for_enums=numbers
    )
    inner = [value for value in content.values() if isinstance(value, dict)]
    text = json.dumps(chance.choice([content, *inner]), ensure_ascii=chance.random() < 0.5)
    body = text.encode("utf-8", "surrogatepass")
    return damaged(body, chance) if chance.random() < 0.2 else body


def route_path(path: str, chance: random.Random) -> str:
    ids = ("tiny", "fuzzed", "none", "-", "a%2Fb", "..", quote(chance.choice(NAMES)[:300]))
    while "*" in path:
        path = path.replace("*", chance.choice(ids), 1)
    query = chance.choice(("", "", "?$alt=json;enum-encoding=int", "?alt=sse", "?pageSize=-1&x=1"))
    return f"/{chance.choice(('v1beta', 'v1'))}/{path}{query}"
