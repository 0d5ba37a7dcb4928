"""kill -9 in the recovery from a kill, and again and again, changes nothing but the time."""

from __future__ import annotations

import random

import pytest

from tests.crash.ends import KEPT, broken

pytestmark = pytest.mark.slow

SEEDS = 300
SEEDS_OF = {"job": range(SEEDS // 2), "pipeline": range(SEEDS // 2, SEEDS)}
MOST_KILLS = 6
SECONDS = 2
PAIRS = 60


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


@pytest.mark.parametrize("what", SEEDS_OF)
@pytest.mark.timeout(600)
def test_what_is_killed_again_and_again_is_done_once(world, what):
    moments = len(world(what, (), KEPT).moments)
    lists = []
    for seed in SEEDS_OF[what]:
        chance = random.Random(seed)
        lists.append(tuple(chance.randrange(moments) for _ in range(chance.randint(1, MOST_KILLS))))

    assert broken(world, what, lists) == {}
