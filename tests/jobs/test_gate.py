"""What counts as a right answer, and what opens the gate."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.target import FakeTarget
from tuner.errors import NotFound, Unavailable
from tuner.jobs import gate
from tuner.jobs.job import Scores
from tuner.types import Example

ROWS = (Example("Peru", "Lima"), Example("Italy", "Rome"), Example("Japan", "Tokyo"))


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ("Lima", True),
        ("lima.", True),
        ("  LIMA \n", True),
        ("«Lima»!", True),
        ("Lima_", True),
        ("Li ma", False),
        ("The Lima", False),
        ("", False),
    ],
)
def test_case_punctuation_and_space_do_not_count_when_normalised(answer, same):
    assert (gate.normalize(answer) == gate.normalize("Lima")) is same


def test_exact_match_counts_every_character():
    assert gate.score([("a", "a"), ("b", "b."), ("c", "x")]) == Scores(1 / 3, 2 / 3)


@pytest.mark.parametrize("output", ["Lima", "東京", "🙂", "a" * 500])
def test_the_answer_may_be_as_long_as_any_right_one(output):
    rows = [Example("", "x"), Example("", output)]

    assert gate.answer_tokens(rows) >= len(output.encode())


def answering(tuned, base):
    target = FakeTarget()
    target.answers = {
        "models/tiny": {row.text_input: said for row, said in zip(ROWS, base, strict=True)},
        "models/fixed": {row.text_input: said for row, said in zip(ROWS, tuned, strict=True)},
    }
    return target


def evaluated(target, tell=lambda _: None):
    return asyncio.run(gate.evaluate(target, "models/fixed", "models/tiny", ROWS, tell))


def test_both_models_answer_every_row_and_each_answer_stands_beside_its_row():
    told = []

    result = evaluated(answering(["Lima", "Rome", "Kyoto"], ["?", "rome", ""]), told.append)

    assert [(row.expected, row.tuned, row.base) for row in result.rows] == [
        ("Lima", "Lima", "?"),
        ("Rome", "Rome", "rome"),
        ("Tokyo", "Kyoto", ""),
    ]
    assert result.tuned == Scores(2 / 3, 2 / 3)
    assert result.base == Scores(0, 1 / 3)
    assert told == [1, 2, 3, 4, 5, 6]


def test_out_of_quota_for_a_moment_loses_no_answer():
    target = answering(["Lima"] * 3, [""] * 3)
    target.faults = {2: Unavailable("slow down", retry_after_s=0.0)}

    assert evaluated(target).tuned.exact_match == 1 / 3


def test_an_error_of_the_service_comes_through_as_itself():
    target = answering([""] * 3, [""] * 3)
    target.base_models = target.base_models[:1]

    with pytest.raises(NotFound):
        evaluated(target)


def test_the_digest_names_the_rows_and_not_their_lines():
    moved = [Example(row.text_input, row.output, line=9) for row in ROWS]

    assert gate.digest(ROWS) == gate.digest(moved)
    assert gate.digest(ROWS) != gate.digest(ROWS[::-1])
    assert gate.digest(ROWS) != gate.digest(ROWS[:2])
