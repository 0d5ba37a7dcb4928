"""Which rows are nearly the same as an earlier one."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

from tuner.data.checks import duplicates
from tuner.data.checks.duplicates import NearDuplicates

DATASETS = Path(__file__).parents[3] / "datasets"


def rows_of(name):
    with (DATASETS / name).open(newline="") as file:
        return list(csv.DictReader(file)) if name.endswith("csv") else [*map(json.loads, file)]


REVIEWS = [row["text_input"] for row in rows_of("product_reviews.csv")]
COUNTRIES = [row["country"] for row in rows_of("capitals.csv")]
PASSAGES = rows_of("questions.jsonl")
LONG = "The harbour café in Ullin opens at seven in the morning and closes at four on weekdays."


def pairs(texts, held_out_from=None):
    near = NearDuplicates()
    near.add(texts[: len(texts) // 3])
    list(near.pairs())
    near.add(texts[len(texts) // 3 :])  # pairs can be read in between
    return list(near.pairs(held_out_from))


@pytest.mark.parametrize(
    "other",
    [LONG, LONG.upper(), LONG.replace(" ", ",  ") + "!!", LONG.replace("seven", "eight"), LONG + " Yes.", LONG[:-9]],
)  # fmt: skip
def test_a_text_in_nearly_the_same_words_is_found(other):
    [(row, earlier, similarity)] = pairs([COUNTRIES[0], LONG, *REVIEWS[:40], other])

    assert (row, earlier) == (42, 1)
    assert 0.8 <= similarity <= 1


@pytest.mark.parametrize(
    "other", [" ".join(reversed(LONG.split())), LONG[:60] + REVIEWS[3][:60], LONG[:40], ""]
)
def test_a_text_that_shares_less_is_not_found(other):
    assert pairs([LONG, *REVIEWS[:40], other]) == []


@pytest.mark.parametrize(
    "texts",
    [
        COUNTRIES,
        REVIEWS,
        [each["passage"] for each in PASSAGES],
        [text for each in PASSAGES for text in each["answerable"] + each["unanswerable"]],
        [f"What is the capital of {country}?" for country in COUNTRIES],
        [f"Please name the capital of the country that is called {name}." for name in COUNTRIES],
        [f"row {row}: a sentence of about the usual length, {row * row}" for row in range(300)],
    ],
    ids=["capitals", "reviews", "passages", "questions", "short", "template", "numbers"],
)
def test_real_data_and_templates_give_no_false_alarm(texts):
    assert len(pairs(texts)) <= 2


@pytest.mark.parametrize(
    "other", ["where is my order", "Where is my order??", "Where: is MY order."]
)
def test_short_texts_must_have_the_same_words(other):
    texts = ["Where is my order?", *COUNTRIES, "Where is my older order?", other]

    assert pairs(texts) == [(len(texts) - 1, 0, 1.0)]


def test_short_texts_that_differ_in_symbols_are_not_found():
    sums = [
        f"What is {one} {sign} {two}?" for one in range(9) for two in range(9) for sign in "+-*/"
    ]
    signs = [f"{sign}{one}" for one in range(99) for sign in ("", "-", "$", "#")]

    assert pairs([*sums, *signs, "C", "C++", "C#", "F", "F#", "A", "A*", "R", "R&D"]) == []


def test_the_nearest_earlier_row_is_reported_and_the_first_of_equals():
    near_one, far_one = LONG.replace("four", "five"), LONG.replace("seven", "three thirty")
    found = pairs([far_one, near_one, near_one, LONG, *REVIEWS[:30]])

    assert [(row, earlier) for row, earlier, _ in found][-1] == (3, 1)


def test_held_out_rows_are_compared_with_training_rows_only():
    texts = [LONG, LONG + " Yes.", *REVIEWS[:20], LONG + " No.", LONG + " No."]

    assert [(row, earlier) for row, earlier, _ in pairs(texts, 22)] == [(22, 0), (23, 0)]


@pytest.mark.parametrize("texts", [[], ["", "a"], ["\ud800 " * 60, "\ud800!" * 60]])
def test_without_words_there_are_no_pairs(texts):
    assert pairs(texts) == []


def test_a_thousand_equal_rows_are_all_found():
    assert pairs([LONG] * 1000) == [(row, 0, 1.0) for row in range(1, 1000)]


def edited(chance, text, edits):
    words = text.split()
    for _ in range(edits):
        words[chance.randrange(len(words))] = chance.choice(["zinc", "größe", "日本語", "x"])
    return " ".join(words)


@pytest.mark.parametrize("seed", range(3))
def test_the_candidates_contain_what_a_comparison_of_all_pairs_finds(seed):
    chance = random.Random(seed)
    texts = [edited(chance, chance.choice(REVIEWS[20:50]), chance.randrange(4)) for _ in range(200)]
    words = [duplicates._comparable(text) for text in texts]
    sets = [duplicates._shingles(each) for each in words]

    expected = {}
    for row, mine in enumerate(sets):
        shares = [duplicates._jaccard(mine, other) for other in sets[:row]]
        if shares and max(shares) >= duplicates.NEAR_THRESHOLD and len(words[row]) >= 44:
            expected[row] = (shares.index(max(shares)), max(shares))

    found = {row: tuple(rest) for row, *rest in pairs(texts) if len(words[row]) >= 44}
    assert found == expected
    assert len(expected) > 20
