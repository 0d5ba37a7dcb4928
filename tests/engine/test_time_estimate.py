"""How long a tuning will take: from a few steps to all of them."""

from __future__ import annotations

import pytest

from tests.engine.places import EXAMPLES, tiny
from tuner.engine import time_estimate

ROWS = [(each.text_input, each.output) for each in EXAMPLES]


def steps(*pairs):
    return [{"computed": work, "tokens": 2 * work, "seconds": seconds} for work, seconds in pairs]


def test_a_pace_is_the_line_through_the_steps_without_the_first():
    start = {"start_s": 3.0, "threads": 2}
    found = time_estimate.fit(start, steps((200, 9.0), (100, 1.5), (200, 2.5), (400, 4.5)))

    assert found[:4] == pytest.approx((3.0 + 9.0 - 2.5, 0.5, 0.01, 0.5))
    assert found.seconds(10, 4000) == pytest.approx(9.5 + 5 + 20)


@pytest.mark.parametrize(
    "measured",
    [
        steps((100, 2.0)),
        steps((100, 3.0), (100, 2.0)),
        steps((100, 3.0), (100, 2.0), (101, 9.0)),
        steps((100, 3.0), (100, 2.0), (300, 1.0)),
        steps((100, 3.0), (100, 1.0), (300, 9.0)),
    ],
    ids=["one", "two", "flat", "falling", "steep"],
)
def test_however_few_or_odd_the_steps_a_forecast_is_their_mean_and_never_negative(measured):
    found = time_estimate.fit({"start_s": 0.0, "threads": 1}, measured)
    later = measured[1:] or measured

    assert min(found) >= 0
    mean = sum(each["seconds"] for each in later) / len(later)
    tokens = sum(each["tokens"] for each in later)
    assert found.seconds(len(later), tokens) - found.start_s == pytest.approx(mean * len(later))


@pytest.mark.slow
def test_a_process_of_its_own_measures_and_says_how_far_it_is():
    said = []

    found = time_estimate.measure_estimate(
        time_estimate.Sample(tiny(), 2048, ROWS, 4, 30.0), said.append
    )

    assert said == [1, 2, 3]
    assert found.steps == 3
    assert found.start_s > 0
    assert 0 < found.seconds(3, 300) - found.start_s < 60


@pytest.mark.slow
def test_where_nothing_can_be_measured_there_is_no_pace(tmp_path):
    assert (
        time_estimate.measure_estimate(time_estimate.Sample(tmp_path, 2048, ROWS, 4, 30.0)) is None
    )
