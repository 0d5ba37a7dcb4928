"""What a store promises, on SQLite and on PostgreSQL, with real concurrency."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count

import pytest
from sqlalchemy import select

from tests.fakes import postgresql
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
from tuner.server.store import models, open_store, operations, permissions, queue, schema
from tuner.server.store.database import StoreInUse
from tuner.server.store.models import ModelQuery
from tuner.server.store.permissions import GranteeExists, KeyRow, PermissionRow

pytestmark = pytest.mark.slow
TOGETHER = 3
REFUSALS = (queue.NameTaken, queue.ClaimLost, permissions.GranteeExists)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request):
    if request.param == "sqlite":
        return None
    return postgresql.new_database(request.getfixturevalue("postgres"))


@pytest.fixture
def store(tmp_path, url):
    with closing(open_store(tmp_path, url, exclusive=True)) as opened:
        yield opened


@contextmanager
def others(tmp_path, url):
    """More stores on the same database, as other processes would open them."""
    opened = [open_store(tmp_path, url) for _ in range(TOGETHER)]
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


def at_once(stores, work):
    """Return what each ``work(store, number)`` returned or raised; all start together."""
    begin = threading.Barrier(len(stores))

    def one(store, number):
        begin.wait()
        try:
            return work(store, number)
        except REFUSALS as error:
            return type(error)

    with ThreadPoolExecutor(len(stores)) as pool:
        return list(pool.map(one, stores, count()))


def test_one_of_many_concurrent_creations_succeeds(tmp_path, url, store):
    def create(each, number):
        add(each, model(uid=f"u{number}"), f"tunedModels/m/operations/u{number}")

    with others(tmp_path, url) as stores:
        answers = at_once(stores, create)
    assert answers.count(None) == 1
    assert answers.count(queue.NameTaken) == TOGETHER - 1
    assert store.run(queue.count) == 1


def test_one_of_many_workers_gets_a_task(tmp_path, url, store):
    add(store)
    with others(tmp_path, url) as stores:
        answers = at_once(stores, lambda each, _: each.run(queue.claim, 10, LEASE_MS))
    assert sum(each is not None for each in answers) == 1


def test_many_workers_claim_each_task_once(tmp_path, url, store):
    for number in range(TOGETHER):
        add(store, model(f"tunedModels/m{number}", f"u{number}"), f"o{number}")
    with others(tmp_path, url) as stores:
        answers = at_once(stores, lambda each, _: each.run(queue.claim, 10, LEASE_MS))
    assert {each.model.uid for each in answers} == {f"u{n}" for n in range(TOGETHER)}


def test_one_of_many_concurrent_transfers_succeeds(tmp_path, url, store):
    add(store)

    def transfer(each, number):
        heir = PermissionRow("tunedModels/m", f"p{number}", "USER", f"new{number}@x.org", "OWNER")
        return each.run(permissions.transfer, heir, ["USER:a@x.org"])

    with others(tmp_path, url) as stores:
        answers = at_once(stores, transfer)
    assert answers.count(True) == 1
    rows = [row for _, row in store.run(permissions.page, "tunedModels/m", 0, 99)]
    assert sorted(row.role for row in rows) == ["OWNER", "WRITER"]


def test_one_of_many_permissions_for_a_grantee_is_created(tmp_path, url, store):
    add(store)

    def share(each, number):
        row = PermissionRow("tunedModels/m", f"p{number}", "USER", "Ben@X.org", "READER")
        each.run(permissions.insert, row)

    with others(tmp_path, url) as stores:
        answers = at_once(stores, share)
    assert sorted(answers, key=str) == [GranteeExists] * (TOGETHER - 1) + [None]


def test_a_tuning_ends_once_whether_it_is_cancelled_or_succeeds(tmp_path, url, store):
    add(store)
    claim = store.run(queue.claim, 0, LEASE_MS)

    def end(each, number):
        if number % 2:
            return each.run(queue.cancel, "tunedModels/m", (1, "cancelled"), 6)
        each.run(queue.succeed, claim, [step(1)], 7)
        return True

    with others(tmp_path, url) as stores:
        answers = at_once(stores, end)
    assert answers.count(True) == 1
    row = store.run(operations.find, OPERATION)
    assert row.done
    assert (row.error_code == 0) == (row.model.state == "ACTIVE")


def test_pages_miss_nothing_that_is_added_meanwhile(tmp_path, url, store):
    add(store)

    def share(each, number):
        for at in range(20):
            address = f"p{number}-{at}@x.org"
            row = PermissionRow("tunedModels/m", f"p{number}x{at}", "USER", address, "READER")
            each.run(permissions.insert, row)

    def follow(each):
        seen, position = [], 0
        while len(seen) < 20 * (TOGETHER - 1) + 1:
            for new, row in each.run(permissions.page, "tunedModels/m", position, 7):
                seen.append(row.id)
                position = new
        return seen

    def work(each, number):
        return share(each, number) if number else follow(each)

    with others(tmp_path, url) as stores:
        seen, *rest = at_once(stores, work)
    assert rest == [None] * (TOGETHER - 1)
    assert len(set(seen)) == len(seen)


def test_a_worker_with_an_expired_claim_cannot_write_from_another_process(tmp_path, url, store):
    add(store)
    dead = store.run(queue.claim, 0, LEASE_MS)
    with closing(open_store(tmp_path, url)) as other:
        alive = other.run(queue.claim, LEASE_MS, LEASE_MS)
        with pytest.raises(queue.ClaimLost):
            store.run(queue.record, dead, [step(1)], 99_999)
        other.run(queue.succeed, alive, [step(1)], 60)
    with pytest.raises(queue.ClaimLost):
        store.run(queue.fail, dead, [], (13, "no"), 70)
    assert store.run(operations.find, OPERATION).model.state == "ACTIVE"


WORDS = ["größe", "GRÖSSE", "straße", "STRASSE", "İstanbul", "100%", "a_b", "/", "\\", "'", "日本"]


def test_a_search_finds_the_same_models_whatever_the_case(store):
    texts = [each for word in WORDS for each in (word, f"x{word.upper()}y", word.lower())]
    for number, text in enumerate(texts):
        add(store, model(f"tunedModels/m{number}", f"u{number}"), f"o{number}")
        store.run(models.update, f"tunedModels/m{number}", {"display_name": text}, 2)
    for word in WORDS:
        query = ModelQuery(("USER:a@x.org",), words=(word,))
        found = [row.display_name for _, row, _ in store.run(models.page, query, 0, 99)]
        assert found == [each for each in reversed(texts) if word.casefold() in each.casefold()]


def test_rows_are_read_as_they_were_written(store):
    add(store)
    claim = store.run(queue.claim, 5, LEASE_MS)
    store.run(queue.record, claim, [step(1, 0.1 + 0.2), step(2, 1e-300)], 9)
    row = store.run(operations.find, OPERATION)
    assert [each.mean_loss for each in row.snapshots] == [0.1 + 0.2, 1e-300]
    assert claim.examples == EXAMPLES
    key = KeyRow("k", "Ana@X.org", b"\x00\xff", b"\x00", 2**40)
    store.run(permissions.insert_key, key)
    assert store.run(permissions.find_key, "k") == key
    store.run(permissions.create_group, "Team@x.org", 1)
    store.run(permissions.add_members, "team@X.org", ["Ana@x.org"], 2)
    assert store.run(permissions.groups_of, "ana@x.org") == ("team@x.org",)


def test_deleting_a_model_deletes_everything_about_it(store):
    add(store)
    claim = store.run(queue.claim, 0, LEASE_MS)
    store.run(queue.record, claim, [step(1)], 9)
    store.run(models.delete, "tunedModels/m")
    for table in (
        schema.operation_table,
        schema.snapshot_table,
        schema.permission_table,
        schema.queue_table,
    ):
        assert (
            store.run(lambda connection, each=table: connection.execute(select(each)).all()) == []
        )


def test_a_failed_change_leaves_nothing_behind(store):
    orphan = PermissionRow("none", "p", "USER", "a@x.org", "OWNER")
    with pytest.raises(permissions.ModelNotFound):
        store.run(queue.add, replace(new_tuning(), owner=orphan))
    assert store.run(models.find, NAME) is None


def test_a_second_service_on_a_database_is_refused_with_the_name_of_the_first(
    tmp_path, postgres, monkeypatch
):
    monkeypatch.setattr("tuner.server.store.postgresql.LOCK_PATIENCE_S", 0.2)
    url = postgresql.new_database(postgres)
    with closing(open_store(tmp_path, url, exclusive=True)):
        with pytest.raises(StoreInUse, match="another service uses this database: tuner on"):
            open_store(tmp_path / "other", url, exclusive=True)
        open_store(tmp_path / "keys", url).close()
    open_store(tmp_path / "other", url, exclusive=True).close()
