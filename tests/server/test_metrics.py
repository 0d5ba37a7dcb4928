"""What the service counts about itself, read back as Prometheus would read it."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.engine import FakeEngine
from tests.server.room import open_room, refusal
from tuner.server.rest import watching
from tuner.server.store.database import StoreFailed

pytestmark = pytest.mark.slow


async def samples(service):
    status, content_type, body = await watching.metrics_page(service)
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    families = text_string_to_metric_families(body.decode())
    return {
        (each.name, *sorted(each.labels.values())): each.value
        for family in families
        for each in family.samples
    }


def grown(before, after):
    return {key: after[key] - before.get(key, 0) for key in after}


def test_calls_are_counted_by_method_and_code_with_their_time(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            before = await samples(room.service)
            await room.call("ListModels")
            await refusal(room, "GetModel", name="models/none")
            found = grown(before, await samples(room.service))
            assert found["tuner_calls_total", "ListModels", "OK"] == 1
            assert found["tuner_calls_total", "GetModel", "NOT_FOUND"] == 1
            assert found["tuner_call_seconds_count", "GetModel"] == 1

    asyncio.run(go())


def test_tunings_are_counted_where_they_are_and_their_steps_as_they_are_done(tmp_path):
    async def go():
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

    asyncio.run(go())


def test_the_tokens_of_answers_are_counted(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            before = await samples(room.service)
            contents = [{"parts": [{"text": "one two three"}]}]
            for method in ("GenerateContent", "StreamGenerateContent"):
                await room.call(method, model="models/tiny", contents=contents)
            found = grown(before, await samples(room.service))
            assert found["tuner_tokens_total", "in"] == 6
            assert found["tuner_tokens_total", "out"] == 6

    asyncio.run(go())


def test_the_process_tells_its_memory_and_its_time(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            found = await samples(room.service)
            assert found["process_resident_memory_bytes",] > 1e6
            assert found["process_cpu_seconds_total",] > 0

    asyncio.run(go())


def test_a_database_that_fails_takes_only_the_tunings_from_the_page(tmp_path, monkeypatch):
    async def broken(*_):
        raise StoreFailed("service.db: disk I/O error")

    async def go():
        async with open_room(tmp_path) as room:
            monkeypatch.setattr(room.service.store, "read", broken)
            found = await samples(room.service)
            assert ("tuner_operations", "running") not in found
            assert ("tuner_calls_in_flight",) in found
            status, _, body = await watching.healthz(room.service)
            assert (status, body) == (503, b"the database cannot be used; the log says why\n")

    asyncio.run(go())


@pytest.mark.parametrize("word", ["tunedModels/secret-name", "ana@example.com"])
def test_no_series_names_a_model_or_a_person(tmp_path, word):
    async def go():
        async with open_room(tmp_path) as room:
            await room.tuned("secret-name")
            await room.call(
                "CreatePermission",
                parent="tunedModels/secret-name",
                permission={"grantee_type": "USER", "email_address": "ana@example.com", "role": 3},
            )
            _, _, body = await watching.metrics_page(room.service)
            assert word.rpartition("/")[2] not in body.decode()

    asyncio.run(go())
