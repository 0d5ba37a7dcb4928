"""Of two runners on one ledger one acts, and the other waits until that one is gone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tuner.errors import Superseded
from tuner.jobs.ledger import Ledger, claims

MODEL = ("local", "tunedModels/capitals")
NOWHERE = "elsewhere 0 pid:[1]"


@pytest.fixture
def store(tmp_path):
    with Ledger(tmp_path / "l.db", float) as ledger:
        yield ledger.store


def runner(store, **changes):
    """A runner as another process would have registered it."""
    me = claims.register(store)
    with store.transaction() as db:
        db.execute("DELETE FROM runner WHERE id = ?", (me.id,))
    me = me._replace(**changes)
    claims.beat(store, me)
    return me


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_is_free_is_taken_and_held(store):
    me = claims.register(store)

    claim = claims.take(store, *MODEL, me)

    claims.check(store, claim)
    assert claims.holder(store, *MODEL).runner == me.id


def test_one_s_own_is_taken_again_and_the_older_claim_is_void(store):
    me = claims.register(store)
    older = claims.take(store, *MODEL, me)

    claim = claims.take(store, *MODEL, me)

    claims.check(store, claim)
    with pytest.raises(Superseded):
        claims.check(store, older)


def test_another_that_lives_keeps_it(store):
    other, me = claims.register(store), claims.register(store)
    claim = claims.take(store, *MODEL, other)

    assert claims.take(store, *MODEL, me).runner == other.id
    claims.check(store, claim)


@pytest.mark.parametrize("changes", [{"pid": ended_process()}, {"started": "1"}])
def test_a_process_that_is_gone_is_succeeded_at_once(store, changes):
    claims.take(store, *MODEL, runner(store, **changes))

    assert isinstance(claims.take(store, *MODEL, claims.register(store)), claims.Claim)


@pytest.mark.parametrize(
    "changes",
    [{"host": NOWHERE, "pid": ended_process()}, {"started": ""}, {}],
    ids=["elsewhere", "unknown-start", "alive"],
)
def test_one_that_cannot_be_seen_to_be_gone_is_left_alone(store, changes):
    claims.take(store, *MODEL, runner(store, **changes))

    assert isinstance(claims.take(store, *MODEL, claims.register(store)), claims.Holder)


def test_a_beat_that_stands_still_for_a_whole_lease_is_a_runner_that_is_gone(store):
    other, me = runner(store, host=NOWHERE), claims.register(store)
    old = claims.take(store, *MODEL, other)
    clock = iter([0.0, 0.0, 9.9, 10.0]).__next__
    watch = claims.Watch(clock, lease_s=10)

    assert isinstance(claims.take(store, *MODEL, me, is_gone=watch.is_gone), claims.Holder)
    assert isinstance(claims.take(store, *MODEL, me, is_gone=watch.is_gone), claims.Claim)
    with pytest.raises(Superseded, match=r"process \d+ on .* took tunedModels/capitals over"):
        claims.check(store, old)


def test_a_beat_that_goes_on_keeps_the_lease(store):
    other, me = runner(store, host=NOWHERE), claims.register(store)
    claims.take(store, *MODEL, other)
    clock = [0.0]
    watch = claims.Watch(lambda: clock[0], lease_s=10)
    for clock[0] in range(0, 100, 9):
        claims.beat(store, other)

        assert isinstance(claims.take(store, *MODEL, me, is_gone=watch.is_gone), claims.Holder)


def test_what_was_released_is_free(store):
    other = claims.register(store)
    claims.take(store, *MODEL, other)

    claims.release(store, other)

    assert claims.holder(store, *MODEL) is None
    assert claims.take(store, *MODEL, claims.register(store)).epoch == 2


def test_a_pipeline_and_a_model_of_one_name_are_claimed_apart(store):
    mine, other = claims.register(store), claims.register(store)
    claims.take(store, "local", "grid", mine)

    assert isinstance(claims.take_pipeline(store, "grid", other), claims.Claim)


def test_in_a_ledger_begun_anew_a_claim_is_made_again(tmp_path):
    with Ledger(tmp_path / "l.db", float) as ledger:
        me = claims.register(ledger.store)
        claim = claims.take(ledger.store, *MODEL, me)
        for path in tmp_path.iterdir():
            path.unlink()

        claims.check(ledger.store, claim)

        with Ledger(tmp_path / "l.db", float) as anew:
            held = claims.holder(anew.store, *MODEL)
            assert (held.runner, held.pid) == (me.id, me.pid)


def test_in_a_ledger_begun_anew_somebody_else_may_have_been_faster(tmp_path):
    with Ledger(tmp_path / "l.db", float) as ledger:
        claim = claims.take(ledger.store, *MODEL, claims.register(ledger.store))
        for path in tmp_path.iterdir():
            path.unlink()
        with Ledger(tmp_path / "l.db", float) as anew:
            claims.take(anew.store, *MODEL, claims.register(anew.store))

        with pytest.raises(Superseded):
            claims.check(ledger.store, claim)
