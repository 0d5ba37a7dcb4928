from __future__ import annotations

from pathlib import Path

import pytest

from tuner.cli.data_tokens import Price, format_duration, read_price


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
    assert format_duration(seconds) == said


def test_the_example_of_a_price_table_is_one():
    table = Path(__file__).parents[2] / "docs" / "prices.yaml"

    assert read_price(table, "gemini-1.5-flash-001-tuning") == Price(8.0, "USD")
    assert read_price(table, "models/smollm2-135m-instruct").of(1_000_000) == 0
