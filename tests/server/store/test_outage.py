"""Outages of the database under a running service."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes import postgresql
from tests.fakes.engine import FakeEngine
from tests.server.room import open_room, refusal
from tuner.server import messages, scheduler
from tuner.server.api_errors import Code, to_status
from tuner.server.store import open_store
from tuner.server.store.database import StoreInUse

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch):
    monkeypatch.setattr("tuner.server.store.postgresql.LOCK_PATIENCE_S", 0.2)
    monkeypatch.setattr(scheduler, "WRITE_RETRY_S", 0.05)
    monkeypatch.setattr(scheduler, "POLL_S", 0.05)


def steps_of(operation):
    metadata = messages.CreateTunedModelMetadata()
    operation.metadata.Unpack(metadata)
    return [each.step for each in metadata.snapshots]


async def test_a_tuning_goes_on_during_an_outage_and_is_recorded_after_it(
    tmp_path, postgres, caplog
):
    engine = FakeEngine(stop_at=3)
    database = postgresql.new_database(postgres)
    async with open_room(tmp_path, engine, database) as room:
        operation = await room.create()
        await engine.waits.wait()
        await room.until(operation.name, lambda found: steps_of(found) == [1, 2])
        postgres.stop()
        try:
            refused = await refusal(room, "GetTunedModel", name="tunedModels/m")
            engine.go_on.set()
            while "cannot write a tuning" not in caplog.text:  # noqa: ASYNC110  (a log has no event)
                await asyncio.sleep(0.01)
        finally:
            postgres.start()
        assert refused.code == Code.UNAVAILABLE
        assert "secret" not in refused.message
        (retry,) = [d for d in to_status(refused).details if "RetryInfo" in d.type_url]
        assert retry.value
        found = await room.ended(operation.name)
        assert steps_of(found) == [1, 2, 3, 4, 5]
        assert len(engine.tasks) == 1
    assert "Traceback" not in caplog.text
    assert "secret" not in caplog.text


async def test_calls_succeed_after_connections_are_terminated(tmp_path, postgres):
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ 'tuner on'"
    )
    async with open_room(tmp_path, database=postgresql.new_database(postgres)) as room:
        await room.tuned("one")
        postgres.do(cut)
        await room.tuned("two")
        found = await room.call("ListTunedModels")
        assert [each.name for each in found.tuned_models] == [
            "tunedModels/two",
            "tunedModels/one",
        ]


async def test_a_service_that_lost_its_database_to_another_cannot_write(tmp_path, postgres):
    database = postgresql.new_database(postgres)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    engine = FakeEngine(stop_at=2)
    async with open_room(tmp_path / "a", engine, database) as room:
        operation = await room.create()
        await engine.waits.wait()
        postgres.do(cut)
        other = open_store(tmp_path / "b", database, exclusive=True)
        try:
            refused = await refusal(room, "DeleteTunedModel", name="tunedModels/m")
            assert refused.code == Code.UNAVAILABLE
            with pytest.raises(StoreInUse, match="another service"):
                await room.service.store.wait_until_lost()
        finally:
            other.close()
        assert not (await room.call("GetOperation", name=operation.name)).done
