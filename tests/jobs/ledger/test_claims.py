"""Of two runners on one ledger one acts, and the other waits until that one is gone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tuner.errors import Superseded
from tuner.jobs import lock
from tuner.jobs.store import Store

MODEL = ("local", "tunedModels/capitals")
NOWHERE = "elsewhere 0 pid:[1]"


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "l.db", float) as ledger:
        yield ledger


def runner(store, **changes):
    """A runner as another process would have registered it."""
    me = lock.register(store)
    with store.transaction() as db:
        db.execute("DELETE FROM runner WHERE id = ?", (me.id,))
    me = me._replace(**changes)
    lock.beat(store, me)
    return me


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_is_free_is_taken_and_held(store):
    me = lock.register(store)

    claim = lock.take(store, *MODEL, me)

    lock.check(store, claim)
    assert lock.holder(store, *MODEL).runner == me.id


def test_one_s_own_is_taken_again_and_the_older_claim_is_void(store):
    me = lock.register(store)
    older = lock.take(store, *MODEL, me)

    claim = lock.take(store, *MODEL, me)

    lock.check(store, claim)
    with pytest.raises(Superseded):
        lock.check(store, older)


def test_another_that_lives_keeps_it(store):
    other, me = lock.register(store), lock.register(store)
    claim = lock.take(store, *MODEL, other)

    assert lock.take(store, *MODEL, me).runner == other.id
    lock.check(store, claim)


@pytest.mark.parametrize("changes", [{"pid": ended_process()}, {"started": "1"}])
def test_a_process_that_is_gone_is_succeeded_at_once(store, changes):
    lock.take(store, *MODEL, runner(store, **changes))

    assert isinstance(lock.take(store, *MODEL, lock.register(store)), lock.Claim)


@pytest.mark.parametrize(
    "changes",
    [{"host": NOWHERE, "pid": ended_process()}, {"started": ""}, {}],
    ids=["elsewhere", "unknown-start", "alive"],
)
def test_one_that_cannot_be_seen_to_be_gone_is_left_alone(store, changes):
    lock.take(store, *MODEL, runner(store, **changes))

    assert isinstance(lock.take(store, *MODEL, lock.register(store)), lock.Holder)


def test_a_beat_that_stands_still_for_a_whole_lease_is_a_runner_that_is_gone(store):
    other, me = runner(store, host=NOWHERE), lock.register(store)
    old = lock.take(store, *MODEL, other)
    clock = iter([0.0, 0.0, 9.9, 10.0]).__next__
    watch = lock.Watch(clock, lease_s=10)

    assert isinstance(lock.take(store, *MODEL, me, is_gone=watch.is_gone), lock.Holder)
    assert isinstance(lock.take(store, *MODEL, me, is_gone=watch.is_gone), lock.Claim)
    with pytest.raises(Superseded, match=r"process \d+ on .* took tunedModels/capitals over"):
        lock.check(store, old)


def test_a_beat_that_goes_on_keeps_the_lease(store):
    other, me = runner(store, host=NOWHERE), lock.register(store)
    lock.take(store, *MODEL, other)
    clock = [0.0]
    watch = lock.Watch(lambda: clock[0], lease_s=10)
    for clock[0] in range(0, 100, 9):
        lock.beat(store, other)

        assert isinstance(lock.take(store, *MODEL, me, is_gone=watch.is_gone), lock.Holder)


def test_what_was_released_is_free(store):
    other = lock.register(store)
    lock.take(store, *MODEL, other)

    lock.release(store, other)

    assert lock.holder(store, *MODEL) is None
    assert lock.take(store, *MODEL, lock.register(store)).epoch == 2


def test_a_pipeline_and_a_model_of_one_name_are_claimed_apart(store):
    mine, other = lock.register(store), lock.register(store)
    lock.take(store, "local", "grid", mine)

    assert isinstance(lock.take_pipeline(store, "grid", other), lock.Claim)


def test_in_a_ledger_begun_anew_a_claim_is_made_again(tmp_path):
    with Store(tmp_path / "l.db", float) as ledger:
        me = lock.register(ledger)
        claim = lock.take(ledger, *MODEL, me)
        for path in tmp_path.iterdir():
            path.unlink()

        lock.check(ledger, claim)

        with Store(tmp_path / "l.db", float) as anew:
            held = lock.holder(anew, *MODEL)
            assert (held.runner, held.pid) == (me.id, me.pid)


def test_in_a_ledger_begun_anew_somebody_else_may_have_been_faster(tmp_path):
    with Store(tmp_path / "l.db", float) as ledger:
        claim = lock.take(ledger, *MODEL, lock.register(ledger))
        for path in tmp_path.iterdir():
            path.unlink()
        with Store(tmp_path / "l.db", float) as anew:
            lock.take(anew, *MODEL, lock.register(anew))

        with pytest.raises(Superseded):
            lock.check(ledger, claim)
