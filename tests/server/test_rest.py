"""REST: routes, bodies, streams, answers, errors and connections."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from contextlib import asynccontextmanager, closing

import orjson
import pytest

from tests.fakes.engine import FakeEngine
from tests.server.rest_client import HI, rest_service
from tuner.engine import EngineError
from tuner.errors import Unavailable
from tuner.server import protojson, rest
from tuner.server.app import running
from tuner.server.messages import PACKAGE
from tuner.server.settings import Settings

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
async def test_a_model_is_made_watched_changed_shared_and_deleted(tmp_path, version):
    async with rest_service(tmp_path) as (_, call):
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
        new = await call("PATCH", f"{at}/tunedModels/m?{mask}", {"display_name": "B", "topP": 0.5})
        assert (new.json["displayName"], new.json["topP"]) == ("B", 0.5)
        grant = {"granteeType": "EVERYONE", "role": "READER"}
        made = (await call("POST", f"{at}/tunedModels/m/permissions", grant)).json
        one = f"{at}/{made['name']}"
        assert (await call("GET", one)).json == made
        assert (await call("PATCH", f"{one}?updateMask=role", {"role": 2})).json["role"] == "WRITER"
        assert len((await call("GET", f"{at}/tunedModels/m/permissions")).json["permissions"]) == 2
        assert (await call("DELETE", one)).json == {}
        lead = {"emailAddress": "lead@example.com"}
        assert (await call("DELETE", f"{at}/{operation}")).json == {}
        assert (await call("POST", f"{at}/tunedModels/m:transferOwnership", lead)).json == {}
        refused = await call("DELETE", f"{at}/tunedModels/m")
        assert (refused.status, refused.error["status"]) == (403, "PERMISSION_DENIED")


async def test_every_generative_method_answers(tmp_path):
    async with rest_service(tmp_path) as (room, call):
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


async def test_a_change_without_a_mask_is_what_the_body_names(tmp_path):
    async with rest_service(tmp_path) as (room, call):
        await room.tuned(display_name="a", description="b")
        model = (await call("GET", "/v1beta/tunedModels/m")).json
        model |= {"displayName": "", "description": None}
        changed = (await call("PATCH", "/v1beta/tunedModels/m", model)).json
        assert "displayName" not in changed
        assert changed["description"] == "b"
        assert (await call("PATCH", "/v1beta/tunedModels/m", b"null")).status == 200
        same = (await call("PATCH", "/v1beta/tunedModels/m", {})).json
        assert same | {"updateTime": ""} == changed | {"updateTime": ""}


async def test_a_tuning_is_cancelled_by_its_operation_or_by_its_model(tmp_path):
    for way in ("tunedModels/m:cancel", "OPERATION:cancel"):
        async with rest_service(tmp_path / way[:3], FakeEngine(stop_at=1)) as (room, call):
            operation = await create(call)
            path = way.replace("OPERATION", operation)
            assert (await call("POST", f"/v1beta/{path}")).json == {}
            ended = await room.ended(operation)
            assert ended.error.code == 1


async def test_a_wait_ends_when_its_caller_hangs_up(tmp_path):
    engine = FakeEngine(stop_at=1)
    async with rest_service(tmp_path, engine) as (room, call), asyncio.timeout(30):
        operation = await create(call)
        await call("POST", f"/v1beta/{operation}:wait", {}, hang_up=engine.waits)
        assert room.service.calls.in_flight == 0


@pytest.mark.parametrize(
    "alt", ["$alt=json;enum-encoding=int", "%24alt=json%3Benum-encoding%3Dint"]
)
async def test_enums_are_numbers_for_those_who_ask(tmp_path, alt):
    async with rest_service(tmp_path) as (room, call):
        await room.tuned()
        assert (await call("GET", f"/v1beta/tunedModels/m?{alt}")).json["state"] == 2
        assert (await call("GET", "/v1beta/tunedModels/m?alt=json")).json["state"] == "ACTIVE"
        refused = await call("GET", "/v1beta/models?alt=proto")
        assert (refused.status, "alt=proto" in refused.error["message"]) == (400, True)


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


async def test_an_unknown_path_gives_the_right_status(tmp_path):
    async with rest_service(tmp_path) as (_, call):
        for verb, url, status, words in ELSEWHERE:
            answer = await call(verb, url)
            assert answer.status == status, (verb, url, answer.body)
            assert words in answer.error["message"]
            assert len(answer.body) < 2000
            kinds = [each["@type"].rpartition(".")[2] for each in answer.error["details"]]
            assert kinds.count("ErrorInfo") == 1


async def test_parameters_of_googles_front_end_are_no_fields(tmp_path):
    async with rest_service(tmp_path) as (_, call):
        extra = "prettyPrint=false&$.xgafv=2&quotaUser=me&$ct=x&key=k&fields=name"
        assert (await call("GET", f"/v1beta/models?{extra}")).status == 200


async def test_a_key_is_read_from_the_header_the_query_and_as_a_bearer(tmp_path):
    async with rest_service(tmp_path) as (room, call):
        key = await room.make_key("ana@example.com")
        assert (await call("GET", "/v1beta/models")).error["status"] == "UNAUTHENTICATED"
        assert (await call("GET", f"/v1beta/models?key={key}")).status == 200
        assert (await call("GET", f"/v1beta/models?access_token={key}")).status == 200
        assert (await call("GET", "/v1beta/models", x_goog_api_key=key)).status == 200
        bearer = f"Bearer {key}"
        assert (await call("GET", "/v1beta/models", authorization=bearer)).status == 200
        assert (await call("GET", "/v1beta/models?key=wrong")).status == 401


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (EngineError("too long", is_request=True), 400, "INVALID_ARGUMENT"),
        (EngineError("no memory"), 503, "UNAVAILABLE"),
        (ZeroDivisionError("a secret"), 500, "INTERNAL"),
    ],
)
async def test_a_failure_has_its_status_and_says_when_to_retry(tmp_path, error, status, name):
    class Broken(FakeEngine):
        async def count_tokens(self, _prompt):
            raise error

    async with rest_service(tmp_path, Broken()) as (_, call):
        answer = await call("POST", "/v1beta/models/tiny:countTokens", HI)
        assert (answer.status, answer.error["status"]) == (status, name)
        assert "secret" not in answer.body.decode()
        assert answer.headers.get("retry-after") == ("1" if status == 503 else None)


async def test_plain_pages_need_no_key(tmp_path):
    async with rest_service(tmp_path) as (room, call):
        await room.make_key("ana@example.com")
        assert (await call("GET", "/healthz")).body == b"ok\n"
        assert b"tuner_calls_total" in (await call("GET", "/metrics")).body
        assert (await call("GET", "/openapi.json")).json["openapi"] == "3.1.0"
        assert (await call("HEAD", "/healthz")).status == 200
        assert (await call("POST", "/healthz")).status == 404
        allowed = await call("OPTIONS", "/v1beta/tunedModels")
        assert (allowed.status, allowed.headers["allow"]) == (204, "OPTIONS, GET, POST")


async def test_all_errors_of_a_body_are_reported_with_their_fields(tmp_path):
    async with rest_service(tmp_path) as (_, call):
        url = "/v1beta/tunedModels"
        answer = await call("POST", url, {"colour": 1, "tuningTask": {"shape": 2}})
        paths = [each.get("field", "") for each in _violations(answer)]
        assert (answer.status, paths) == (400, ["tuned_model", "tuned_model.tuning_task"])
        for body in (b"{", b"\xff", b"[]", b"5"):
            assert (await call("POST", url, body)).error["status"] == "INVALID_ARGUMENT"
        zipped = await call("POST", url, b"x", content_encoding="gzip")
        assert "gzip" in zipped.error["message"]


async def test_a_caller_without_a_key_is_refused_before_the_body_is_read(tmp_path):
    async with rest_service(tmp_path) as (room, call):
        await room.make_key("ana@example.com")
        assert (await call("POST", "/v1beta/tunedModels", b"{")).status == 401


def _violations(answer):
    return answer.error["details"][1]["fieldViolations"]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_refused_without_reading_it_whole(tmp_path, announced):
    async with rest_service(tmp_path) as (room, call):
        body = b" " * (room.service.limits.message_bytes + 1)
        headers = {"content_length": str(len(body))} if announced else {}
        answer = await call("POST", "/v1beta/models/tiny:countTokens", body, **headers)
        assert answer.error["message"]
        assert answer.status in {400, 429}


async def test_a_large_body_is_parsed_in_a_thread(tmp_path, monkeypatch):
    parse, on_the_loop = protojson.parse, []

    def noting(body):
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        return parse(body)

    monkeypatch.setattr(protojson, "parse", noting)
    async with rest_service(tmp_path) as (_, call):
        for words in (5, 50_000):
            body = {"contents": [{"parts": [{"text": "word " * words}]}]}
            answer = await call("POST", "/v1beta/models/tiny:countTokens", body)
            assert answer.json["totalTokens"] == words
        assert on_the_loop == [True, False]


async def test_a_large_answer_is_written_in_a_thread(tmp_path, monkeypatch):
    dump, on_the_loop = protojson.dump, []

    def noting(message, **how):
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        return dump(message, **how)

    monkeypatch.setattr(protojson, "dump", noting)
    async with rest_service(tmp_path) as (room, call):
        operation = await room.tuned()
        for most in (rest.THREAD_ANSWER_BYTES, operation.ByteSize()):
            monkeypatch.setattr(rest, "THREAD_ANSWER_BYTES", most)
            answer = await call("GET", f"/v1beta/{operation.name}")
            assert answer.json["done"]
        assert on_the_loop == [True, False]


@pytest.mark.parametrize(
    ("alt", "first", "between", "last"),
    [("json", b"[", b",\r\n", b"]"), ("sse", b"data: ", b"\r\n\r\ndata: ", b"\r\n\r\n")],
)
async def test_a_stream_is_framed_as_its_clients_want_it(tmp_path, alt, first, between, last):
    async with rest_service(tmp_path) as (_, call):
        url = f"/v1beta/models/tiny:streamGenerateContent?alt={alt}"
        answer = await call("POST", url, HI)
        assert answer.body.startswith(first)
        assert answer.body.endswith(last)
        parts = answer.body.removeprefix(first).removesuffix(last).split(between)
        texts = [orjson.loads(each)["candidates"][0]["content"]["parts"] for each in parts]
        assert texts == [[{"text": "one "}], [{"text": "two "}], [{"text": "three"}]]
        assert "content-length" not in answer.headers


@pytest.mark.parametrize("alt", ["json", "sse"])
async def test_each_piece_of_a_stream_is_sent_before_the_next_is_made(tmp_path, alt):
    made, sent = [], []

    class Watched(FakeEngine):
        async def generate(self, prompt):
            async for piece in super().generate(prompt):
                made.append(len(sent))
                yield piece

    async def note(chunk):
        sent.append(chunk)

    async with rest_service(tmp_path, Watched()) as (_, call):
        url = f"/v1beta/models/tiny:streamGenerateContent?alt={alt}"
        await call("POST", url, HI, on_chunk=note)
        assert made == [0, 1, 2]


class Failing(FakeEngine):
    """Says ``words`` words, then fails."""

    words = 1

    async def generate(self, prompt):
        async for piece in super().generate(prompt):
            if self.words == 0:
                raise EngineError("the worker died")
            self.words -= 1
            yield piece


async def test_a_stream_that_fails_midway_ends_with_the_error(tmp_path):
    async with rest_service(tmp_path, Failing()) as (_, call):
        answer = await call("POST", "/v1beta/models/tiny:streamGenerateContent", HI)
        first, error = answer.json
        assert (answer.status, error["error"]["code"]) == (200, 503)
        assert first["candidates"]
    async with rest_service(tmp_path, Failing()) as (_, call):
        answer = await call("POST", "/v1beta/models/tiny:streamGenerateContent?alt=sse", HI)
        last = answer.body.removesuffix(b"\r\n\r\n").rpartition(b"data: ")[2]
        assert orjson.loads(last)["error"]["status"] == "UNAVAILABLE"


async def test_a_stream_cut_off_in_the_middle_of_a_write_says_that_the_service_stops(tmp_path):
    writes, sent = asyncio.Event(), []

    async def stuck_at_second(chunk):
        sent.append(chunk)
        if len(sent) == 2:
            writes.set()
            await asyncio.Event().wait()

    async with rest_service(tmp_path) as (room, call), asyncio.timeout(30):
        url = "/v1beta/models/tiny:streamGenerateContent"
        asking = asyncio.create_task(call("POST", url, HI, on_chunk=stuck_at_second))
        await writes.wait()
        await room.service.calls.drain(0)
        *_, last = (await asking).json
        assert last["error"]["status"] == "UNAVAILABLE"


@pytest.mark.parametrize("alt", ["json", "sse"])
async def test_a_stream_that_fails_at_once_is_a_plain_error(tmp_path, alt):
    engine = Failing()
    engine.words = 0
    async with rest_service(tmp_path, engine) as (_, call):
        url = f"/v1beta/models/tiny:streamGenerateContent?alt={alt}"
        answer = await call("POST", url, HI)
        assert (answer.status, answer.error["status"]) == (503, "UNAVAILABLE")
        wrong = await call("POST", url, {"contents": []})
        assert wrong.status == 400


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent"])
async def test_the_model_stops_writing_when_its_caller_hangs_up(tmp_path, method):
    class Endless(FakeEngine):
        async def generate(self, prompt):
            try:
                while True:
                    async for piece in super().generate(prompt):
                        self.waits.set()
                        yield piece
            finally:
                self.go_on.set()

    engine = Endless()
    async with rest_service(tmp_path, engine) as (room, call):
        await call("POST", f"/v1beta/models/tiny:{method}", HI, hang_up=engine.waits)
        await engine.go_on.wait()
        assert room.service.calls.in_flight == 0


STREAM = "/v1beta/models/tiny:streamGenerateContent?alt=sse"


@asynccontextmanager
async def rest_address(folder, engine=None):
    settings = Settings("127.0.0.1:0", "127.0.0.1:0")
    async with running(settings, engine or FakeEngine(), folder) as (_, at):
        yield at.rest


def connect(address):
    host, _, port = address.rpartition(":")
    return closing(http.client.HTTPConnection(host, int(port), timeout=10))


async def test_many_requests_go_over_one_connection(tmp_path):
    def talk(address):
        with connect(address) as connection:
            for _ in range(3):
                connection.request("GET", "/v1beta/models")
                with connection.getresponse() as answer:
                    assert answer.status == 200
                    assert json.load(answer)["models"]
                    assert answer.getheader("server") is None
            mine = connection.sock.getsockname()
            connection.request("HEAD", "/v1beta/models")
            with connection.getresponse() as answer:
                assert answer.read() == b""
            assert connection.sock.getsockname() == mine

    async with rest_address(tmp_path) as address:
        await asyncio.to_thread(talk, address)


async def test_a_taken_port_is_reported_with_a_fix(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = Settings("127.0.0.1:0", address)
        with pytest.raises(Unavailable, match=address) as caught:
            async with running(settings, FakeEngine(), tmp_path):
                pass
        assert "--rest" in caught.value.fix


class Endless(FakeEngine):
    """Writes until it is stopped."""

    async def generate(self, prompt):
        try:
            while True:
                async for piece in super().generate(prompt):
                    yield piece
        finally:
            self.waits.set()


async def test_a_stream_arrives_while_the_model_still_writes_and_a_hang_up_stops_it(tmp_path):
    def first_line(address):
        with connect(address) as connection:
            connection.request("POST", STREAM, json.dumps(HI))
            return connection.getresponse().readline()

    engine = Endless()
    async with rest_address(tmp_path, engine) as address:
        line = await asyncio.to_thread(first_line, address)
        assert json.loads(line.removeprefix(b"data: "))["candidates"]
        await engine.waits.wait()


async def test_bytes_that_are_not_http_are_refused_and_others_are_served(tmp_path):
    def talk(address):
        for sent in (
            b"\x16\x03\x01\x00\xa5\x01",
            b"GET /\xff HTTP/1.1\r\n\r\n",
            b"nonsense\r\n\r\n",
        ):
            with socket.create_connection(address.split(":"), timeout=10) as raw:
                raw.sendall(sent)
                assert raw.recv(100).startswith(b"HTTP/1.1 400")
        with connect(address) as connection:
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b"ok\n"

    async with rest_address(tmp_path) as address:
        await asyncio.to_thread(talk, address)


async def test_headers_without_end_are_cut_off(tmp_path):
    def talk(address):
        with socket.create_connection(address.split(":"), timeout=10) as raw:
            raw.sendall(b"GET /healthz HTTP/1.1\r\n")
            with pytest.raises(OSError, match=r"reset|pipe"):
                raw.sendall(b"a: " + b"x" * 2**26)
        with connect(address) as connection:
            padding = {"x-padding": "x" * 60_000}
            connection.request("GET", "/healthz", headers=padding)
            assert connection.getresponse().read() == b"ok\n"

    async with rest_address(tmp_path) as address:
        await asyncio.to_thread(talk, address)


WHOLE = b"GET /healthz HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", WHOLE + b"GET / HTTP/1.1\r\na: b\r\n"])
async def test_headers_that_do_not_come_are_not_waited_for(tmp_path, monkeypatch, sent):
    def talk(address):
        with socket.create_connection(address.split(":"), timeout=10) as raw:
            raw.sendall(sent)
            said = raw.makefile("rb").read()
            assert said.endswith(b"ok\n") if WHOLE in sent else said == b""

    monkeypatch.setattr(rest, "HEADERS_TIMEOUT_S", 0.1)
    async with rest_address(tmp_path) as address:
        await asyncio.to_thread(talk, address)
