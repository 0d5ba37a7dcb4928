"""kill -9 at every moment: around every call, its effect, every commit and every line of the audit.

A real signal ends a real process. In the end there is one model of each, one of each grant, one
transfer, a whole report, exit code 0, and for each effect a line of the audit log older than it.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.crash import shapes

pytestmark = pytest.mark.slow

KEPT, LOST = False, True
SEEDS = 300
MOST_KILLS = 6
SECONDS = 6
PAIRS = 100


def what_is_wrong(result, what, *, loses=KEPT):
    """Nothing, or how the end differs from that of a run nobody disturbed."""
    done, due = Counter(map(tuple, result.effects)), shapes.effects(what)
    if loses:  # who made a model that was beaten is forgotten too, so that it is left alone
        due = +Counter({each: 1 for each in due if each[0] != "delete" or each in done})
    gone = sum(each[0] == "delete" for each in done) if loses else 0
    told = {
        "too much": list((done - due).elements()),
        "missing": list((due - done).elements()),
        "not announced": result.unintended,
        "not told": 0 if loses else shapes.NOTICES[what] - len(set(result.told)),
        "exit code": result.exit_code,
        "phases": [] if result.phases == shapes.PHASES[what] else result.phases,
        "not evaluated": max(0, shapes.EVALUATED[what] - result.evaluated - gone),
    }
    return {key: value for key, value in told.items() if value}


def broken(world, what, kills, *, loses=KEPT):
    """Of these lists of kills those that were not survived, and how."""
    found = {}
    for each in kills:
        result = world(what, each, loses)
        if wrong := what_is_wrong(result, what, loses=loses):
            found[each] = wrong
    return found


@pytest.mark.parametrize("what", ["job", "pipeline"])
@pytest.mark.timeout(600)
def test_a_kill_at_any_moment_changes_nothing_but_the_time(world, what):
    undisturbed = world(what, (), KEPT)
    moments = range(len(undisturbed.moments))

    assert what_is_wrong(undisturbed, what) == {}
    assert len(moments) >= shapes.MOMENTS[what]
    assert broken(world, what, [(moment,) for moment in moments]) == {}


@pytest.mark.parametrize("what", ["job", "pipeline"])
@pytest.mark.timeout(600)
def test_a_ledger_that_is_deleted_after_any_call_has_nothing_done_twice(world, what):
    moments = world(what, (), KEPT).moments
    called = [(number,) for number, name in enumerate(moments) if name.endswith(" done, not known")]

    assert broken(world, what, called, loses=LOST) == {}


@pytest.mark.timeout(600)
def test_a_kill_in_the_recovery_from_a_kill_changes_nothing_either(world):
    chance = random.Random(5)
    moments = len(world("job", (), KEPT).moments)
    pairs = [
        (first, second)
        for first in range(moments)
        for second in chance.sample(range(moments), SECONDS)
    ]

    assert broken(world, "job", pairs) == {}


def test_a_pipeline_killed_in_its_recovery_ends_as_it_would_have(world):
    chance = random.Random(6)
    moments = len(world("pipeline", (), KEPT).moments)
    pairs = [(chance.randrange(moments), chance.randrange(moments)) for _ in range(PAIRS)]

    assert broken(world, "pipeline", pairs) == {}


@pytest.mark.timeout(900)
def test_a_pipeline_killed_again_and_again_does_everything_once(world):
    moments = len(world("pipeline", (), KEPT).moments)
    lists = []
    for seed in range(SEEDS):
        chance = random.Random(seed)
        lists.append(tuple(chance.randrange(moments) for _ in range(chance.randint(1, MOST_KILLS))))

    assert broken(world, "pipeline", lists) == {}
