from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from itertools import pairwise

import pytest

from tuner.server.store import queue
from tuner.server.store.database import StoreFailed, open_store
from tuner.server.store.models import ModelRow, SnapshotRow, with_snapshots
from tuner.server.store.operations import find
from tuner.server.store.permissions import ModelGone, PermissionRow
from tuner.types import Example

pytestmark = pytest.mark.slow
EXAMPLES = (Example("1", "2"), Example("a\u2028b", "ü"))
OPERATION = "tunedModels/m/operations/o"
LEASE_MS = 1000


def model(name="tunedModels/m", uid="u"):
    sampling = (1.0, 1.0, 0)
    return ModelRow(name, uid, "models/tiny", "", "", "", *sampling, "CREATING", 5, 4, 0.001, 1, 1)


def add(store, row=None, operation=OPERATION, total_steps=5):
    row = row or model()
    owner = PermissionRow(row.name, "p", "USER", "a@x.org", "OWNER")
    store.run(queue.enqueue, row, owner, operation, total_steps, "", queue.pack(EXAMPLES))


@pytest.fixture
def store(tmp_path):
    with closing(open_store(tmp_path)) as opened:
        yield opened


def step(number, loss=1.0):
    return SnapshotRow(number, 1, loss, 1000 + number)


def test_a_task_is_claimed_once_until_its_lease_runs_out(store):
    add(store)
    first = store.run(queue.claim, 10, LEASE_MS)
    assert first.examples == EXAMPLES
    assert store.run(queue.claim, 10 + LEASE_MS - 1, LEASE_MS) is None
    second = store.run(queue.claim, 10 + LEASE_MS, LEASE_MS)
    assert second.epoch == first.epoch + 1


@pytest.mark.parametrize(
    "write",
    [
        lambda store, claim: store.run(queue.record, claim, [step(3)], 99_999),
        lambda store, claim: store.run(queue.succeed, claim, [step(3)], 50),
        lambda store, claim: store.run(queue.fail, claim, [step(3)], (13, "no"), 50),
        lambda store, claim: store.run(queue.release, claim),
    ],
)
def test_a_worker_thought_dead_can_write_nothing(store, write):
    add(store)
    dead = store.run(queue.claim, 0, LEASE_MS)
    store.run(queue.record, dead, [step(1)], LEASE_MS)
    alive = store.run(queue.claim, LEASE_MS, LEASE_MS)
    before = store.run(find, OPERATION)
    with pytest.raises(queue.Fenced):
        write(store, dead)
    assert store.run(find, OPERATION) == before
    store.run(queue.succeed, alive, [step(2)], 60)
    assert store.run(find, OPERATION).done


def test_a_worker_of_a_deleted_model_cannot_write_into_its_namesake(store):
    from tuner.server.store.models import remove

    add(store)
    old = store.run(queue.claim, 0, LEASE_MS)
    store.run(remove, "tunedModels/m")
    add(store, model(uid="other"))
    store.run(queue.claim, 0, LEASE_MS)
    with pytest.raises(queue.Fenced):
        store.run(queue.record, old, [step(1)], 99_999)


@pytest.mark.parametrize("total", [1, 999, 1000, 1001, 2500, 100_000])
def test_a_tuning_of_any_length_has_about_a_thousand_snapshots_evenly_from_first_to_last(
    store, total
):
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


def test_steps_reported_again_are_kept_once_and_never_go_back(store):
    add(store)
    claim = store.run(queue.claim, 0, LEASE_MS)
    store.run(queue.record, claim, [step(1, 0.5), step(2, 0.4)], 9)
    store.run(queue.record, claim, [step(1, 9.0), step(2, 9.0)], 9)
    store.run(queue.record, claim, [step(2, 9.0), step(3, 0.3), step(3, 0.3)], 9)
    row = store.run(find, OPERATION)
    assert row.completed_steps == 3
    assert [each.mean_loss for each in row.snapshots] == [0.5, 0.4, 0.3]


def test_what_is_done_stays_as_it_is(store):
    add(store)
    claim = store.run(queue.claim, 0, LEASE_MS)
    store.run(queue.succeed, claim, [step(1)], 5)
    row = store.run(find, OPERATION)
    assert not store.run(queue.cancel, "tunedModels/m", (1, "cancelled"), 6)
    with pytest.raises(queue.Fenced):
        store.run(queue.fail, claim, [], (13, "no"), 7)
    assert store.run(find, OPERATION) == row


def test_a_cancelled_task_fences_its_worker(store):
    add(store)
    claim = store.run(queue.claim, 0, LEASE_MS)
    assert store.run(queue.cancel, "tunedModels/m", (1, "cancelled"), 6)
    with pytest.raises(queue.Fenced):
        store.run(queue.succeed, claim, [], 7)
    row = store.run(find, OPERATION)
    assert (row.done, row.error_code, row.model.state) == (True, 1, "FAILED")


def test_a_failed_change_leaves_nothing_behind(store):
    add(store)
    row, owner = model("tunedModels/n", "v"), PermissionRow("none", "p", "USER", "a@x.org", "OWNER")
    with pytest.raises(ModelGone):
        store.run(queue.enqueue, row, owner, "n", 5, "", b"")
    assert store.run(with_snapshots, "tunedModels/n") is None


def test_examples_take_a_fraction_of_their_size():
    rows = [Example(f"the review number {n} was very good", "positive") for n in range(1000)]
    assert queue.unpack(queue.pack(rows)) == tuple(rows)
    assert len(queue.pack(rows)) < sum(len(each.text_input) for each in rows) / 3


def test_a_write_is_seen_by_everybody_at_once(tmp_path):
    async def go():
        with closing(open_store(tmp_path)) as store:
            assert await store.recall(queue.count) == 0
            owner = PermissionRow("tunedModels/m", "p", "USER", "a@x.org", "OWNER")
            await store.write(queue.enqueue, model(), owner, OPERATION, 5, "", b"")
            assert await store.recall(queue.count) == 1

    asyncio.run(go())


def test_a_write_happens_even_if_nobody_waits_for_it(tmp_path):
    async def go():
        with closing(open_store(tmp_path)) as store:
            owner = PermissionRow("tunedModels/m", "p", "USER", "a@x.org", "OWNER")
            write = store.write(queue.enqueue, model(), owner, OPERATION, 5, "", b"")
            task = asyncio.create_task(write)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert await store.read(queue.count) in {0, 1}
            await store.write(queue.release_all)
            assert await store.read(queue.count) == 1

    asyncio.run(go())


def test_a_newer_database_is_refused_in_one_line(tmp_path):
    path = tmp_path / "service.db"
    open_store(path.parent).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 99")
        connection.commit()
    with pytest.raises(StoreFailed, match="schema 99") as caught:
        open_store(path.parent)
    assert "--home" in caught.value.fix


@pytest.mark.parametrize("damage", ["no database at all", "torn"])
def test_a_damaged_database_is_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "service.db"
    with closing(open_store(path.parent)) as store:
        add(store)
    content = bytearray(path.read_bytes())
    content[: len(content) if damage == "torn" else 16] = (
        content[:4096] + b"\xff" * (len(content) - 4096) if damage == "torn" else b"x" * 16
    )
    path.write_bytes(content)
    with pytest.raises(StoreFailed, match="damaged") as caught:
        open_store(path.parent)
    assert "\n" not in caught.value.what
    assert "move it aside" in caught.value.fix


def test_a_full_disk_is_told_and_changes_nothing(store):
    add(store)

    def fill(connection):
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        add_row = "INSERT INTO schema_version VALUES (randomblob(1))"
        connection.exec_driver_sql("CREATE TABLE big (b BLOB)")
        connection.exec_driver_sql(add_row)

    with pytest.raises(StoreFailed, match="full") as caught:
        store.run(fill)
    assert "make room" in caught.value.fix
    assert store.run(find, OPERATION) is not None


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="file"):
        open_store(tmp_path / "file")
