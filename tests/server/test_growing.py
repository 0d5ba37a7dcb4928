"""What somebody who polls is shown: the same as if everything was read anew, at a fraction of the work."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.server.store.rows import NAME, OPERATION, add, model, step
from tuner.server.handlers import growing, shapes
from tuner.server.store import models, open_store, operations, queue

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path):
    with closing(open_store(tmp_path)) as opened:
        add(opened)
        yield opened


def whole(store):
    ((row, steps),) = store.run(models.with_snapshots, [NAME])
    return shapes.operation(store.run(operations.find, OPERATION)), shapes.tuned_model(row, steps)


def test_what_grew_step_by_step_is_what_is_read_at_once(store):
    operation = tuned_model = None
    claim = store.run(queue.claim, 0, 1000)
    for last in (0, 1, 1, 5):
        steps = [step(n + 1, 1 / (n + 1)) for n in range(last)]
        store.run(queue.record, claim, steps, 1000)
        operation = store.run(growing.operation, operation, OPERATION)
        tuned_model = store.run(growing.tuned_model, tuned_model, NAME)
        as_clients_read_it = type(operation.message).FromString(
            operation.message.SerializeToString()
        )
        known = shapes.messages.CreateTunedModelMetadata()
        as_clients_read_it.metadata.Unpack(known)
        as_clients_read_it.metadata.Pack(known)
        assert (as_clients_read_it, tuned_model.message) == whole(store)
    store.run(queue.succeed, claim, [], 5)
    operation = store.run(growing.operation, operation, OPERATION)
    tuned_model = store.run(growing.tuned_model, tuned_model, NAME)
    assert (operation.message, tuned_model.message) == whole(store)


def test_only_new_steps_are_read(store):
    claim = store.run(queue.claim, 0, 1000)
    store.run(queue.record, claim, [step(1), step(2)], 1000)
    before = store.run(growing.operation, None, OPERATION)
    store.run(queue.record, claim, [step(3)], 1000)
    found = store.run(operations.find, OPERATION, after=before.last_step)
    assert [each.step for each in found.snapshots] == [3]


def test_a_model_shows_no_step_of_its_deleted_namesake(store):
    claim = store.run(queue.claim, 0, 1000)
    store.run(queue.record, claim, [step(1), step(2)], 1000)
    before = store.run(growing.tuned_model, None, NAME)
    store.run(models.delete, NAME)
    assert store.run(growing.tuned_model, before, NAME) is None
    assert store.run(growing.operation, None, OPERATION) is None
    add(store, model(uid="other"), operation="tunedModels/m/operations/other")
    claim = store.run(queue.claim, 0, 1000)
    store.run(queue.record, claim, [step(1, 0.5)], 1000)
    after = store.run(growing.tuned_model, before, NAME)
    assert [each.mean_loss for each in after.message.tuning_task.snapshots] == [0.5]
