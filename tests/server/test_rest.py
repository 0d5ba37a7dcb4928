"""The REST door: routes, bodies, answers and errors, as an HTTP server hands them in."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.engine import FakeEngine
from tests.server.rest_door import HI, rest
from tuner.engine import EngineError
from tuner.server.messages import PACKAGE

pytestmark = pytest.mark.slow

EXAMPLES = [{"textInput": str(n), "output": str(n + 1)} for n in range(4)]
MODEL = {
    "displayName": "Adder",
    "baseModel": "models/tiny",
    "tuningTask": {"trainingData": {"examples": {"examples": EXAMPLES}}},
}


async def create(call, version="v1beta"):
    answer = await call("POST", f"/{version}/tunedModels?tunedModelId=m", MODEL)
    assert answer.status == 200, answer.body
    return answer.json["name"]


@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_a_model_is_made_watched_changed_shared_and_deleted(tmp_path, version):
    async def go():
        async with rest(tmp_path) as (_, call):
            at = f"/{version}"
            assert [m["name"] for m in (await call("GET", f"{at}/models")).json["models"]]
            assert (await call("GET", f"{at}/models/tiny")).json["version"]
            operation = await create(call, version)
            done = (await call("POST", f"{at}/{operation}:wait", {"timeout": "30s"})).json
            assert done["done"]
            assert done["metadata"]["tunedModel"] == done["response"]["name"] == "tunedModels/m"
            assert (await call("GET", f"{at}/{operation}")).json == done
            for every in ("tunedModels/m/operations", "operations", "tunedModels/-/operations"):
                assert (await call("GET", f"{at}/{every}")).json["operations"] == [done]
            listed = await call("GET", f"{at}/tunedModels?pageSize=5&filter=owner:me")
            (model,) = listed.json["tunedModels"]
            assert done["response"] == {
                "@type": f"type.googleapis.com/{PACKAGE}.TunedModel",
                **model,
            }
            mask = "updateMask=displayName,top_p"
            new = await call(
                "PATCH", f"{at}/tunedModels/m?{mask}", {"display_name": "B", "topP": 0.5}
            )
            assert (new.json["displayName"], new.json["topP"]) == ("B", 0.5)
            grant = {"granteeType": "EVERYONE", "role": "READER"}
            made = (await call("POST", f"{at}/tunedModels/m/permissions", grant)).json
            one = f"{at}/{made['name']}"
            assert (await call("GET", one)).json == made
            assert (await call("PATCH", f"{one}?updateMask=role", {"role": 2})).json[
                "role"
            ] == "WRITER"
            assert (
                len((await call("GET", f"{at}/tunedModels/m/permissions")).json["permissions"]) == 2
            )
            assert (await call("DELETE", one)).json == {}
            lead = {"emailAddress": "lead@example.com"}
            assert (await call("DELETE", f"{at}/{operation}")).json == {}
            assert (await call("POST", f"{at}/tunedModels/m:transferOwnership", lead)).json == {}
            refused = await call("DELETE", f"{at}/tunedModels/m")
            assert (refused.status, refused.error["status"]) == (403, "PERMISSION_DENIED")

    asyncio.run(go())


def test_every_way_to_ask_a_model_is_answered(tmp_path):
    async def go():
        async with rest(tmp_path) as (room, call):
            await room.tuned()
            for model in ("models/tiny", "tunedModels/m"):
                answer = (await call("POST", f"/v1beta/{model}:generateContent", HI)).json
                assert answer["candidates"][0]["content"]["parts"] == [{"text": "one two three"}]
                counted = await call("POST", f"/v1beta/{model}:countTokens", HI)
                assert counted.json["totalTokens"] == 3
            text = {"content": {"parts": [{"text": "a"}]}}
            one = await call("POST", "/v1beta/models/embedder:embedContent", text)
            batch = {"requests": [text | {"model": "models/embedder"}]}
            many = await call("POST", "/v1beta/models/embedder:batchEmbedContents", batch)
            assert many.json["embeddings"] == [one.json["embedding"]]
            passages = {"passages": [{"id": "p", **text}]}
            question = HI | {"answerStyle": "VERBOSE", "inlinePassages": passages}
            answer = await call("POST", "/v1beta/models/tiny:generateAnswer", question)
            assert answer.json["answer"]["content"]

    asyncio.run(go())


def test_a_change_without_a_mask_is_what_the_body_names(tmp_path):
    async def go():
        async with rest(tmp_path) as (room, call):
            await room.tuned(display_name="a", description="b")
            model = (await call("GET", "/v1beta/tunedModels/m")).json
            model |= {"displayName": "", "description": None}
            changed = (await call("PATCH", "/v1beta/tunedModels/m", model)).json
            assert "displayName" not in changed
            assert changed["description"] == "b"
            assert (await call("PATCH", "/v1beta/tunedModels/m", b"null")).status == 200
            same = (await call("PATCH", "/v1beta/tunedModels/m", {})).json
            assert same | {"updateTime": ""} == changed | {"updateTime": ""}

    asyncio.run(go())


def test_a_tuning_is_cancelled_by_its_operation_or_by_its_model(tmp_path):
    async def go():
        for way in ("tunedModels/m:cancel", "OPERATION:cancel"):
            async with rest(tmp_path / way[:3], FakeEngine(stop_at=1)) as (room, call):
                operation = await create(call)
                path = way.replace("OPERATION", operation)
                assert (await call("POST", f"/v1beta/{path}")).json == {}
                ended = await room.ended(operation)
                assert ended.error.code == 1

    asyncio.run(go())


def test_a_wait_ends_when_its_caller_hangs_up(tmp_path):
    async def go():
        engine = FakeEngine(stop_at=1)
        async with rest(tmp_path, engine) as (room, call), asyncio.timeout(30):
            operation = await create(call)
            await call("POST", f"/v1beta/{operation}:wait", {}, hang_up=engine.waits)
            assert room.service.calls.in_flight == 0

    asyncio.run(go())


@pytest.mark.parametrize(
    "alt", ["$alt=json;enum-encoding=int", "%24alt=json%3Benum-encoding%3Dint"]
)
def test_enums_are_numbers_for_those_who_ask(tmp_path, alt):
    async def go():
        async with rest(tmp_path) as (room, call):
            await room.tuned()
            assert (await call("GET", f"/v1beta/tunedModels/m?{alt}")).json["state"] == 2
            assert (await call("GET", "/v1beta/tunedModels/m?alt=json")).json["state"] == "ACTIVE"
            refused = await call("GET", "/v1beta/models?alt=proto")
            assert (refused.status, "alt=proto" in refused.error["message"]) == (400, True)

    asyncio.run(go())


ELSEWHERE = [
    ("GET", "/", 404, "GET on this path"),
    ("GET", "/v1beta", 404, ""),
    ("GET", "/v1beta/", 404, ""),
    ("GET", "/v2/models", 404, ""),
    ("GET", "/v1beta/models/", 404, "models/"),
    ("GET", "/v1beta/models/x/y/z", 404, ""),
    ("POST", "/v1beta/models", 404, "it answers GET"),
    ("PUT", "/v1beta/tunedModels/m", 404, "it answers GET, PATCH, DELETE"),
    ("POST", "/v1beta/models/tiny:fly", 404, "models/*:fly"),
    ("GET", "/v1beta/" + "a/" * 5000, 404, ""),
    ("GET", "/v1beta/models/%ff%00", 404, ""),
    ("GET", "/v1beta/models/" + "a" * 20_000, 400, "The URL is longer"),
    ("GET", "/v1beta/tunedModels/a%2Fb", 400, "tunedModels/ID"),
    ("GET", "/v1beta/models?colour=red", 400, "'colour' could not be found"),
    ("GET", "/v1beta/models?pageSize=many", 400, "'page_size'"),
    ("GET", "/v1beta/models?pageSize=1&" + "&".join("a" * 200), 400, "100 parameters"),
    ("GET", "/v1beta/files", 501, "FileService"),
    ("POST", "/v1beta/cachedContents", 501, "CacheService"),
    ("GET", "/v1beta/corpora/a/documents", 501, "RetrieverService"),
    ("POST", "/v1beta/models/imagen:predict", 501, "PredictionService"),
    ("POST", "/v1beta/models/tiny:batchGenerateContent", 501, "batch"),
    ("POST", "/upload/v1beta/files", 501, "FileService"),
    ("GET", "/v1beta/batches/b", 501, "batch"),
    ("GET", "/v1beta/models/tiny/operations", 400, "tunedModels/ID/operations"),
]


def test_what_is_not_there_is_told_with_the_right_status(tmp_path):
    async def go():
        async with rest(tmp_path) as (_, call):
            for verb, url, status, words in ELSEWHERE:
                answer = await call(verb, url)
                assert answer.status == status, (verb, url, answer.body)
                assert words in answer.error["message"]
                assert len(answer.body) < 2000
                kinds = [each["@type"].rpartition(".")[2] for each in answer.error["details"]]
                assert kinds.count("ErrorInfo") == 1

    asyncio.run(go())


def test_parameters_of_googles_front_end_are_no_fields(tmp_path):
    async def go():
        async with rest(tmp_path) as (_, call):
            extra = "prettyPrint=false&$.xgafv=2&quotaUser=me&$ct=x&key=k&fields=name"
            assert (await call("GET", f"/v1beta/models?{extra}")).status == 200

    asyncio.run(go())


def test_a_key_is_read_from_the_header_the_query_and_as_a_bearer(tmp_path):
    async def go():
        async with rest(tmp_path) as (room, call):
            key = await room.make_key("ana@example.com")
            assert (await call("GET", "/v1beta/models")).error["status"] == "UNAUTHENTICATED"
            assert (await call("GET", f"/v1beta/models?key={key}")).status == 200
            assert (await call("GET", f"/v1beta/models?access_token={key}")).status == 200
            assert (await call("GET", "/v1beta/models", x_goog_api_key=key)).status == 200
            bearer = f"Bearer {key}"
            assert (await call("GET", "/v1beta/models", authorization=bearer)).status == 200
            assert (await call("GET", "/v1beta/models?key=wrong")).status == 401

    asyncio.run(go())


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (EngineError("too long", is_request=True), 400, "INVALID_ARGUMENT"),
        (EngineError("no memory"), 503, "UNAVAILABLE"),
        (ZeroDivisionError("a secret"), 500, "INTERNAL"),
    ],
)
def test_a_failure_has_its_status_and_says_when_to_come_again(tmp_path, error, status, name):
    class Broken(FakeEngine):
        async def count_tokens(self, _prompt):
            raise error

    async def go():
        async with rest(tmp_path, Broken()) as (_, call):
            answer = await call("POST", "/v1beta/models/tiny:countTokens", HI)
            assert (answer.status, answer.error["status"]) == (status, name)
            assert "secret" not in answer.body.decode()
            assert answer.headers.get("retry-after") == ("1" if status == 503 else None)

    asyncio.run(go())


def test_plain_pages_need_no_key(tmp_path):
    async def go():
        async with rest(tmp_path) as (room, call):
            await room.make_key("ana@example.com")
            assert (await call("GET", "/healthz")).body == b"ok\n"
            assert b"tuner_calls_total" in (await call("GET", "/metrics")).body
            assert (await call("GET", "/openapi.json")).json["openapi"] == "3.1.0"
            assert (await call("HEAD", "/healthz")).status == 200
            assert (await call("POST", "/healthz")).status == 404
            allowed = await call("OPTIONS", "/v1beta/tunedModels")
            assert (allowed.status, allowed.headers["allow"]) == (204, "OPTIONS, GET, POST")

    asyncio.run(go())
