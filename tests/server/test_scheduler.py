from __future__ import annotations

import json

import pytest

from tests.fakes.engine import FakeEngine
from tests.server.room import open_room
from tuner.server import messages, scheduler
from tuner.server.api_errors import Code

pytestmark = pytest.mark.slow


def metadata_of(operation):
    metadata = messages.CreateTunedModelMetadata()
    assert operation.metadata.Unpack(metadata)
    return metadata


def model_of(operation):
    model = messages.TunedModel()
    assert operation.response.Unpack(model)
    return model


async def test_a_tuning_ends_with_a_model_and_a_snapshot_for_every_step(tmp_path):
    async with open_room(tmp_path) as room:
        operation = await room.create()
        assert not operation.done
        assert metadata_of(operation).tuned_model == "tunedModels/m"
        assert metadata_of(operation).total_steps == 5
        operation = await room.ended(operation.name)
        metadata, model = metadata_of(operation), model_of(operation)
        assert [each.step for each in metadata.snapshots] == [1, 2, 3, 4, 5]
        assert metadata.completed_percent == 100
        assert model.state == messages.TunedModel.ACTIVE
        assert len(model.tuning_task.snapshots) == 5


async def test_a_worker_that_dies_is_replaced_and_goes_on_from_its_checkpoint(tmp_path):
    engine = FakeEngine(die_at=[2, 4])
    async with open_room(tmp_path, engine) as room:
        operation = await room.tuned()
        assert [each.step for each in metadata_of(operation).snapshots] == [1, 2, 3, 4, 5]
        assert len(engine.tasks) == 3


async def test_a_worker_that_keeps_dying_at_one_step_fails_the_tuning(tmp_path):
    engine = FakeEngine(die_at=[3] * 9)
    async with open_room(tmp_path, engine) as room:
        operation = await room.tuned()
        assert operation.error.code == Code.INTERNAL
        assert "killed" in operation.error.message
        assert len(engine.tasks) == 3


async def test_a_failed_tuning_says_why_and_keeps_its_snapshots(tmp_path):
    async with open_room(tmp_path, FakeEngine(fail_at=3)) as room:
        operation = await room.tuned()
        assert "lower the learning rate" in operation.error.message
        assert len(metadata_of(operation).snapshots) == 2
        model = await room.call("GetTunedModel", name="tunedModels/m")
        assert model.state == messages.TunedModel.FAILED


async def test_cancelling_ends_a_running_tuning_at_once(tmp_path):
    engine = FakeEngine(stop_at=3)
    async with open_room(tmp_path, engine) as room:
        operation = await room.create()
        await room.until(operation.name, lambda now: metadata_of(now).completed_steps == 2)
        await room.call("CancelOperation", name=operation.name)
        operation = await room.call("GetOperation", name=operation.name)
        assert operation.done
        assert operation.error.code == Code.CANCELLED
        assert engine.ended == 1
        model = await room.call("GetTunedModel", name="tunedModels/m")
        assert model.state == messages.TunedModel.FAILED


async def test_cancelling_ends_a_waiting_tuning_and_spares_the_running_one(tmp_path):
    engine = FakeEngine(stop_at=1)
    async with open_room(tmp_path, engine) as room:
        first = await room.create("first")
        second = await room.create("second")
        await room.call("CancelOperation", name=second.name)
        assert (await room.ended(second.name)).error.code == Code.CANCELLED
        engine.go_on.set()
        assert model_of(await room.ended(first.name)).name == "tunedModels/first"
        assert len(engine.tasks) == 1


async def test_cancelling_what_is_done_changes_nothing(tmp_path):
    async with open_room(tmp_path) as room:
        operation = await room.tuned()
        await room.call("CancelOperation", name=operation.name)
        assert await room.call("GetOperation", name=operation.name) == operation


async def test_deleting_a_model_that_is_tuning_ends_its_worker_and_removes_its_folder(tmp_path):
    engine = FakeEngine(stop_at=3)
    async with open_room(tmp_path, engine) as room:
        operation = await room.create()
        await room.until(operation.name, lambda now: metadata_of(now).completed_steps == 2)
        await room.call("DeleteTunedModel", name="tunedModels/m")
        assert engine.ended == 1
        assert list((tmp_path / "tunings").iterdir()) == []


async def test_a_name_can_be_used_again_after_a_deletion_and_starts_afresh(tmp_path):
    async with open_room(tmp_path) as room:
        await room.tuned()
        await room.call("DeleteTunedModel", name="tunedModels/m")
        operation = await room.tuned()
        assert len(metadata_of(operation).snapshots) == 5
        assert len(room.engine.tasks) == 2


async def test_a_service_that_starts_again_goes_on_with_its_tunings(tmp_path):
    engine = FakeEngine(stop_at=4)
    async with open_room(tmp_path, engine) as room:
        operation = await room.create()
        await room.until(operation.name, lambda now: metadata_of(now).completed_steps == 3)
    async with open_room(tmp_path) as room:
        operation = await room.ended(operation.name)
        assert [each.step for each in metadata_of(operation).snapshots] == [1, 2, 3, 4, 5]
        assert model_of(operation).state == messages.TunedModel.ACTIVE


async def test_a_model_tuned_from_a_tuned_one_goes_on_from_its_weights(tmp_path):
    async with open_room(tmp_path) as room:
        await room.tuned("parent")
        source = {"tuned_model": "tunedModels/parent"}
        operation = await room.tuned("child", tuned_model_source=source)
        child = model_of(operation)
        assert child.tuned_model_source.tuned_model == "tunedModels/parent"
        assert child.tuned_model_source.base_model == "models/tiny"
        assert room.engine.tasks[1].parent.is_dir()


async def test_weights_a_queued_task_builds_on_outlive_their_model(tmp_path):
    engine = FakeEngine()
    async with open_room(tmp_path, engine) as room:
        await room.tuned("parent")
        engine.stop_at = 1
        source = {"tuned_model": "tunedModels/parent"}
        operation = await room.create("child", tuned_model_source=source)
        await room.call("DeleteTunedModel", name="tunedModels/parent")
        await engine.waits.wait()
        assert engine.tasks[1].parent.is_dir()
        engine.go_on.set()
        await room.ended(operation.name)
        await room.service.scheduler.remove_unused_folders()
        assert not engine.tasks[1].parent.exists()


async def test_a_folder_made_while_others_are_tidied_away_stays(tmp_path, monkeypatch):
    async with open_room(tmp_path) as room:
        old, new = room.service.folder / "old", room.service.folder / "new"
        old.mkdir(parents=True)

        def known(_connection):
            new.mkdir()  # of a model whose row came a moment after this read
            return set()

        monkeypatch.setattr(scheduler.models, "list_uids", known)
        await room.service.scheduler.remove_unused_folders()
        assert new.exists()
        assert not old.exists()


async def test_waiting_for_an_operation_answers_when_it_is_done(tmp_path):
    engine = FakeEngine(stop_at=1)
    async with open_room(tmp_path, engine) as room:
        operation = await room.create()
        timeout = {"seconds": 0, "nanos": 1_000_000}
        early = await room.call("WaitOperation", name=operation.name, timeout=timeout)
        assert not early.done
        engine.go_on.set()
        assert (await room.call("WaitOperation", name=operation.name)).done


async def test_forgetting_an_operation_lets_its_tuning_go_on(tmp_path):
    engine = FakeEngine(stop_at=1)
    async with open_room(tmp_path, engine) as room:
        operation = await room.create()
        await room.call("DeleteOperation", name=operation.name)
        assert not (await room.call("ListOperations", name="tunedModels/-")).operations
        engine.go_on.set()
        while True:
            model = await room.call("GetTunedModel", name="tunedModels/m")
            if model.state == messages.TunedModel.ACTIVE:
                break
            await room.service.store.wait_for_write(0.5)


async def test_a_bug_in_the_engine_shows_an_incident_and_not_its_traceback(tmp_path, caplog):
    class Broken(FakeEngine):
        async def tune(self, task, folder):  # noqa: ARG002  (the protocol's)
            json.loads("{")
            yield

    async with open_room(tmp_path, Broken()) as room:
        operation = await room.tuned()
        incident = caplog.records[-1] and [
            record.incident for record in caplog.records if hasattr(record, "incident")
        ]
        assert incident[0] in operation.error.message
        assert "Expecting" not in operation.error.message


async def test_a_task_that_breaks_the_queue_does_not_end_it(tmp_path, caplog, monkeypatch):
    async with open_room(tmp_path) as room:
        tunings = room.service.scheduler
        supervise = tunings._supervise

        async def break_once(_claimed):
            monkeypatch.setattr(tunings, "_supervise", supervise)
            tunings.wake()
            raise ZeroDivisionError

        monkeypatch.setattr(tunings, "_supervise", break_once)
        first, second = await room.create("first"), await room.create("second")
        assert not (await room.call("GetOperation", name=first.name)).done
        assert model_of(await room.ended(second.name)).name == "tunedModels/second"
        assert "the queue broke" in caplog.text
