"""How sure a difference is."""

from __future__ import annotations

import random
from itertools import starmap

import pytest

from tuner.evaluation.gate import interval
from tuner.job import Interval


def by_hand(differences, seed):
    """The percentile bootstrap in plain Python, with draws of its own."""
    chance, count = random.Random(seed), len(differences)
    means = sorted(sum(chance.choices(differences, k=count)) / count for _ in range(4000))
    return Interval(means[100], means[3899])


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_is_that_of_a_plain_bootstrap(seed):
    chance = random.Random(seed)
    differences = [chance.choice((-1.0, 0.0, 0.0, 1.0, 1.0)) for _ in range(60)]

    found, plain = interval(differences, str(seed)), by_hand(differences, seed)

    assert found.low == pytest.approx(plain.low, abs=0.025)
    assert found.high == pytest.approx(plain.high, abs=0.025)


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly_so():
    rows = [0.0, 1.0, 1.0, 0.5, -1.0] * 8

    assert interval(rows, "a") == interval(rows, "a")
    assert interval(rows, "a").low == pytest.approx(interval(rows, "b").low, abs=0.03)


@pytest.mark.parametrize("rows", [[], [1.0]])
def test_less_than_two_rows_say_nothing_of_chance(rows):
    assert interval(rows, "a") is None


def test_rows_that_all_differ_alike_leave_no_doubt():
    assert interval([0.5] * 7, "a") == Interval(0.5, 0.5)


@pytest.mark.slow
def test_nineteen_in_twenty_intervals_hold_the_true_difference(monkeypatch):
    monkeypatch.setattr("tuner.evaluation.gate.RESAMPLES", 2000)
    chance = random.Random(5)
    sets = [[chance.gauss(0.2, 0.5) for _ in range(80)] for _ in range(400)]

    found = list(starmap(interval, ((rows, str(at)) for at, rows in enumerate(sets))))

    held = sum(each.low <= 0.2 <= each.high for each in found)
    assert 0.92 <= held / len(found) <= 0.98
