from __future__ import annotations

from pathlib import Path

import pytest

from tuner.cli.data import timing
from tuner.cli.data.needed import length
from tuner.cli.data.prices import Price, read_price


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (118, "2 min"),
        (204, "3 min 20 s"),
        (596, "10 min"),
        (1500, "25 min"),
        (3599, "60 min"),
        (7790, "2 h 10 min"),
        (7200, "2 h"),
    ],
)
def test_a_forecast_is_no_more_exact_than_it_can_be(seconds, said):
    assert length(seconds) == said


def steps(*pairs):
    return [{"computed": work, "tokens": 2 * work, "seconds": seconds} for work, seconds in pairs]


def test_a_pace_is_the_line_through_the_steps_without_the_first():
    start = {"start_s": 3.0, "threads": 2}
    pace = timing.fitted(start, steps((200, 9.0), (100, 1.5), (200, 2.5), (400, 4.5)))

    assert pace[:4] == pytest.approx((3.0 + 9.0 - 2.5, 0.5, 0.01, 0.5))
    assert pace.seconds(10, 4000) == pytest.approx(9.5 + 5 + 20)


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
    pace = timing.fitted({"start_s": 0.0, "threads": 1}, measured)
    later = measured[1:] or measured

    assert min(pace) >= 0
    mean = sum(each["seconds"] for each in later) / len(later)
    tokens = sum(each["tokens"] for each in later)
    assert pace.seconds(len(later), tokens) - pace.start_s == pytest.approx(mean * len(later))


def test_the_example_of_a_price_table_is_one():
    table = Path(__file__).parents[2] / "docs" / "prices.yaml"

    assert read_price(table, "gemini-1.5-flash-001-tuning") == Price(8.0, "USD")
    assert read_price(table, "models/smollm2-135m-instruct").of(1_000_000) == 0
