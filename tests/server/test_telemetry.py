"""Log lines and metrics: what the service did, and nothing that somebody sent."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.engine import FakeEngine
from tests.server.rest_client import ask
from tests.server.room import open_room, refusal
from tuner.server import telemetry
from tuner.server.store.database import StoreFailed


@pytest.fixture
def written():
    """What is logged, as the service would write it."""
    stream, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(telemetry.JsonLines())
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)


def break_with(words):
    try:
        {}[words]
    except KeyError as error:
        raise ValueError(words) from error


def test_an_event_is_a_line_with_what_it_brought():
    brought = {"msg": "two\nlines \ud800", "levelname": "WARNING", "ms": 1.5}
    (text,) = telemetry.JsonLines().format(logging.makeLogRecord(brought)).splitlines()
    line = json.loads(text)
    assert (line["event"], line["level"], line["ms"]) == ("two\nlines \ud800", "warning", 1.5)


def test_a_failure_is_told_by_kind_and_place_and_never_in_its_own_words(written):
    try:
        break_with("a secret")
    except ValueError:
        logging.getLogger("tuner.x").exception("broke")
    (line,) = written()
    assert "secret" not in json.dumps(line)
    kinds = [each for each in line["trace"].splitlines() if not each.startswith(" ")]
    assert kinds == ["KeyError", "ValueError"]
    assert f"{__file__}:" in line["trace"]
    assert line["trace"].count("in break_with") == 2


def test_what_asyncio_complains_about_is_told_without_words(written):
    async def go():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(telemetry.log_loop_error)
        loop.call_soon(break_with, "a secret")
        await asyncio.sleep(0)

    asyncio.run(go())
    (line,) = written()
    assert "secret" not in json.dumps(line)
    assert "ValueError" in line["trace"]


async def samples(service):
    page = await ask(service, "GET", "/metrics")
    assert (page.status, page.headers["content-type"].partition(";")[0]) == (200, "text/plain")
    families = text_string_to_metric_families(page.body.decode())
    return {
        (each.name, *sorted(each.labels.values())): each.value
        for family in families
        for each in family.samples
    }


def grown(before, after):
    return {key: after[key] - before.get(key, 0) for key in after}


@pytest.mark.slow
async def test_calls_are_counted_by_method_and_code_with_their_time(tmp_path):
    async with open_room(tmp_path) as room:
        before = await samples(room.service)
        await room.call("ListModels")
        await refusal(room, "GetModel", name="models/none")
        found = grown(before, await samples(room.service))
        assert found["tuner_calls_total", "ListModels", "OK"] == 1
        assert found["tuner_calls_total", "GetModel", "NOT_FOUND"] == 1
        assert found["tuner_call_seconds_count", "GetModel"] == 1


@pytest.mark.slow
async def test_tunings_are_counted_where_they_are_and_their_steps_as_they_are_done(tmp_path):
    engine = FakeEngine(stop_at=2)
    async with open_room(tmp_path, engine) as room:
        before = await samples(room.service)
        await room.create("a")
        await room.create("b")
        await engine.waits.wait()
        now = await samples(room.service)
        assert now["tuner_operations", "running"] == 1
        assert now["tuner_operations", "queued"] == 1
        engine.go_on.set()
        for name in "ab":
            found = await room.call("ListOperations", name=f"tunedModels/{name}")
            await room.ended(found.operations[0].name)
        now = await samples(room.service)
        assert now["tuner_operations", "succeeded"] == 2
        assert now["tuner_operations", "queued"] == 0
        found = grown(before, now)
        assert found["tuner_tuning_steps_total",] == 10
        assert found["tuner_store_write_seconds_count",] >= 4


@pytest.mark.slow
async def test_the_tokens_of_answers_are_counted(tmp_path):
    async with open_room(tmp_path) as room:
        before = await samples(room.service)
        contents = [{"parts": [{"text": "one two three"}]}]
        for method in ("GenerateContent", "StreamGenerateContent"):
            await room.call(method, model="models/tiny", contents=contents)
        found = grown(before, await samples(room.service))
        assert found["tuner_tokens_total", "in"] == 6
        assert found["tuner_tokens_total", "out"] == 6


@pytest.mark.slow
async def test_the_process_tells_its_memory_and_its_time(tmp_path):
    async with open_room(tmp_path) as room:
        found = await samples(room.service)
        assert found["process_resident_memory_bytes",] > 1e6
        assert found["process_cpu_seconds_total",] > 0


@pytest.mark.slow
async def test_a_database_that_fails_takes_only_the_tunings_from_the_page(tmp_path, monkeypatch):
    async def broken(*_):
        raise StoreFailed("service.db: disk I/O error")

    async with open_room(tmp_path) as room:
        monkeypatch.setattr(room.service.store, "read", broken)
        found = await samples(room.service)
        assert ("tuner_operations", "running") not in found
        assert ("tuner_calls_in_flight",) in found
        health = await ask(room.service, "GET", "/healthz")
        assert (health.status, health.body) == (
            503,
            b"the database cannot be used; see the log\n",
        )


@pytest.mark.slow
async def test_no_series_names_a_model_or_a_person(tmp_path):
    async with open_room(tmp_path) as room:
        await room.tuned("secret-name")
        permission = {"grantee_type": "USER", "email_address": "ana@example.com", "role": 3}
        parent = "tunedModels/secret-name"
        await room.call("CreatePermission", parent=parent, permission=permission)
        page = (await ask(room.service, "GET", "/metrics")).body
        assert b"secret-name" not in page
        assert b"ana@example.com" not in page
