"""What counts as a right answer, and what opens the gate."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.fakes.target import FakeTarget
from tests.fakes.work import job_of, with_spec
from tuner.errors import NotFound, Unavailable
from tuner.jobs import gate
from tuner.jobs.answers import NOTHING_KEPT
from tuner.jobs.metrics import exact_match, normalize
from tuner.jobs.work import new_tuned_model
from tuner.types import Example

ROWS = (Example("Peru", "Lima"), Example("Italy", "Rome"), Example("Japan", "Tokyo"))
WORK = replace(with_spec(), holdout=ROWS)
JOB = job_of(WORK)


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
    assert (normalize(answer) == normalize("Lima")) is same


def test_exact_match_counts_every_character():
    assert [exact_match("b", answer) for answer in ("b", "b.", "x")] == [1, 0, 0]


@pytest.mark.parametrize("output", ["Lima", "東京", "🙂", "a" * 500])
def test_the_answer_may_be_as_long_as_any_right_one(output):
    rows = [Example("", "x"), Example("", output)]

    assert gate.answer_tokens(rows) >= len(output.encode())


def answering(tuned, base):
    target = FakeTarget()
    target.answers = {
        "models/tiny": {row.text_input: said for row, said in zip(ROWS, base, strict=True)},
        JOB.tuned_model: {row.text_input: said for row, said in zip(ROWS, tuned, strict=True)},
    }
    asyncio.run(has_tuned(target))
    return target


async def has_tuned(target):
    await target.create(new_tuned_model(WORK))
    for _ in range(target.looks_until_done):
        await target.tuned_model(JOB.tuned_model)
    target.moment = 0


def evaluated(target, tell=lambda _: None):
    return asyncio.run(gate.evaluate(target, JOB, WORK, NOTHING_KEPT, tell))


def test_both_models_answer_every_row_and_each_answer_stands_beside_its_row():
    told = []

    result = evaluated(answering(["Lima", "Rome", "Kyoto"], ["?", "rome", ""]), told.append)

    assert [(row.expected, row.tuned, row.base) for row in result.rows] == [
        ("Lima", "Lima", "?"),
        ("Rome", "Rome", "rome"),
        ("Tokyo", "Kyoto", ""),
    ]
    assert result.tuned == {"exact_match": 2 / 3, "normalized_match": 2 / 3}
    assert result.base == {"exact_match": 0, "normalized_match": 1 / 3}
    assert [event.amounts for event in told] == [(done, 6) for done in range(1, 7)]


def test_out_of_quota_for_a_moment_loses_no_answer():
    target = answering(["Lima"] * 3, [""] * 3)
    target.faults = {2: Unavailable("slow down", retry_after_s=0.0)}

    assert evaluated(target).tuned["exact_match"] == 1 / 3


def test_an_error_of_the_service_comes_through_as_itself():
    target = answering([""] * 3, [""] * 3)
    target.base_models = ()

    with pytest.raises(NotFound):
        evaluated(target)


def test_the_digest_names_the_rows_and_not_their_lines():
    moved = tuple(row._replace(line=9) for row in ROWS)
    digests = [
        gate.digest(replace(WORK, holdout=rows)) for rows in (ROWS, moved, ROWS[::-1], ROWS[:2])
    ]

    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
