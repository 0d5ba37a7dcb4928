"""The service's database in one process; what SQLite and PostgreSQL share is in tests/contract."""

from __future__ import annotations

import asyncio
from contextlib import closing
from itertools import pairwise

import pytest

from tests.server.store.rows import (
    EXAMPLES,
    LEASE_MS,
    NAME,
    OPERATION,
    add,
    model,
    new_tuning,
    step,
)
from tuner.server.store import models, open_store, queue
from tuner.server.store.database import StoreFailed
from tuner.server.store.operations import find
from tuner.types import Example

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path):
    with closing(open_store(tmp_path)) as opened:
        yield opened


def test_a_task_is_claimed_once_until_its_lease_expires(store):
    add(store)
    first = store.run(queue.claim, 10, LEASE_MS)
    assert first.examples == EXAMPLES
    assert store.run(queue.claim, 10 + LEASE_MS - 1, LEASE_MS) is None
    second = store.run(queue.claim, 10 + LEASE_MS, LEASE_MS)
    assert second.epoch == first.epoch + 1


@pytest.mark.parametrize(
    ("write", "args"),
    [
        (queue.record, ([step(3)], 99_999)),
        (queue.succeed, ([step(3)], 50)),
        (queue.fail, ([step(3)], (13, "no"), 50)),
    ],
)
def test_a_worker_with_an_expired_claim_cannot_write(store, write, args):
    add(store)
    expired = store.run(queue.claim, 0, LEASE_MS)
    store.run(queue.record, expired, [step(1)], LEASE_MS)
    current = store.run(queue.claim, LEASE_MS, LEASE_MS)
    before = store.run(find, OPERATION)
    with pytest.raises(queue.ClaimLost):
        store.run(write, expired, *args)
    assert store.run(find, OPERATION) == before
    store.run(queue.succeed, current, [step(2)], 60)
    assert store.run(find, OPERATION).done


def test_a_worker_of_a_deleted_model_cannot_write_to_a_new_one_of_that_name(store):
    add(store)
    old = store.run(queue.claim, 0, LEASE_MS)
    store.run(models.delete, NAME)
    add(store, model(uid="other"))
    store.run(queue.claim, 0, LEASE_MS)
    with pytest.raises(queue.ClaimLost):
        store.run(queue.record, old, [step(1)], 99_999)


@pytest.mark.parametrize("total", [1, 999, 1000, 1001, 2500, 100_000])
def test_a_tuning_has_at_most_a_thousand_snapshots_evenly_from_first_to_last(store, total):
    add(store, total_steps=total)
    claim = store.run(queue.claim, 0, LEASE_MS)
    for begin in range(1, total + 1, 30_001):
        steps = [step(n) for n in range(begin, min(begin + 30_001, total + 1))]
        store.run(queue.record, claim, steps, 9)
    row = store.run(find, OPERATION)
    kept = [each.step for each in row.snapshots]
    assert row.completed_steps == total
    assert (kept[0], kept[-1]) == (1, total)
    assert min(total, 500) <= len(kept) <= 1001
    assert max((b - a for a, b in pairwise(kept)), default=1) <= -(-total // 1000)


def test_steps_reported_twice_are_stored_once(store):
    add(store)
    claim = store.run(queue.claim, 0, LEASE_MS)
    store.run(queue.record, claim, [step(1, 0.5), step(2, 0.4)], 9)
    store.run(queue.record, claim, [step(1, 9.0), step(2, 9.0)], 9)
    store.run(queue.record, claim, [step(2, 9.0), step(3, 0.3), step(3, 0.3)], 9)
    row = store.run(find, OPERATION)
    assert row.completed_steps == 3
    assert [each.mean_loss for each in row.snapshots] == [0.5, 0.4, 0.3]


def test_a_finished_tuning_cannot_be_cancelled_or_failed(store):
    add(store)
    claim = store.run(queue.claim, 0, LEASE_MS)
    store.run(queue.succeed, claim, [step(1)], 5)
    row = store.run(find, OPERATION)
    assert not store.run(queue.cancel, NAME, (1, "cancelled"), 6)
    with pytest.raises(queue.ClaimLost):
        store.run(queue.fail, claim, [], (13, "no"), 7)
    assert store.run(find, OPERATION) == row


def test_the_worker_of_a_cancelled_task_cannot_write(store):
    add(store)
    claim = store.run(queue.claim, 0, LEASE_MS)
    assert store.run(queue.cancel, NAME, (1, "cancelled"), 6)
    with pytest.raises(queue.ClaimLost):
        store.run(queue.succeed, claim, [], 7)
    row = store.run(find, OPERATION)
    assert (row.done, row.error_code, row.model.state) == (True, 1, "FAILED")


def test_examples_are_stored_compressed():
    rows = [Example(f"the review number {n} was very good", "positive") for n in range(1000)]
    packed = queue.pack_examples(rows)
    assert queue.unpack_examples(packed) == tuple(rows)
    assert len(packed) < sum(len(each.text_input) for each in rows) / 3


async def test_a_write_is_seen_by_cached_reads_at_once(store):
    assert await store.read_cached(queue.count) == 0
    await store.write(queue.add, new_tuning())
    assert await store.read_cached(queue.count) == 1


async def test_a_write_is_completed_if_its_caller_is_cancelled(store):
    task = asyncio.create_task(store.write(queue.add, new_tuning()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await store.write(queue.release_all)
    assert await store.read(queue.count) == 1


@pytest.mark.parametrize("damage", ["not a database", "torn"])
def test_a_damaged_database_is_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "service.db"
    with closing(open_store(tmp_path)) as store:
        add(store)
    content = path.read_bytes()
    if damage == "torn":
        path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    else:
        path.write_bytes(b"x" * 16 + content[16:])
    with pytest.raises(StoreFailed, match="damaged") as caught:
        open_store(tmp_path)
    assert "\n" not in caught.value.what
    assert "move it aside" in caught.value.fix


def test_a_full_disk_is_reported_and_changes_nothing(store):
    add(store)

    def fill(connection):
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.exec_driver_sql("CREATE TABLE big (b BLOB)")
        connection.exec_driver_sql("INSERT INTO big VALUES (randomblob(1))")

    with pytest.raises(StoreFailed, match="full") as caught:
        store.run(fill)
    assert "free space" in caught.value.fix
    assert store.run(find, OPERATION) is not None


def test_a_folder_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="file"):
        open_store(tmp_path / "file")
