"""Which rows are nearly the same as an earlier one."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.data.checks import minhash, near
from tuner.data.checks.near import Near

DATASETS = Path(__file__).parents[3] / "datasets"


def rows_of(name):
    with (DATASETS / name).open(newline="") as file:
        return list(csv.DictReader(file)) if name.endswith("csv") else [*map(json.loads, file)]


REVIEWS = [row["text_input"] for row in rows_of("product_reviews.csv")]
COUNTRIES = [row["country"] for row in rows_of("capitals.csv")]
PASSAGES = rows_of("questions.jsonl")
LONG = "The harbour café in Ullin opens at seven in the morning and closes at four on weekdays."


def exact(texts, held_from=None):
    looked = Near()
    looked.add(texts)
    return list(looked.pairs(held_from))


def sketched(texts, held_from=None):
    looked = minhash.Sketches()
    looked.add(texts[: len(texts) // 3])
    looked.add(texts[len(texts) // 3 :])
    return list(looked.pairs(held_from))


PATHS = pytest.mark.parametrize("pairs", [exact, sketched])


def edited(chance, text, edits):
    words = text.split()
    for _ in range(edits):
        words[chance.randrange(len(words))] = chance.choice(["zinc", "größe", "日本語", "x"])
    return " ".join(words)


@PATHS
@pytest.mark.parametrize(
    "other",
    [
        LONG,
        LONG.upper(),
        LONG.replace(" ", ",  ") + "!!",
        LONG.replace("seven", "eight"),
        LONG + " Yes.",
        LONG[:-9],
    ],
)
def test_a_row_that_says_the_same_in_nearly_the_same_words_is_found(pairs, other):
    [(row, earlier, similarity)] = pairs([COUNTRIES[0], LONG, *REVIEWS[:40], other])

    assert (row, earlier) == (42, 1)
    assert 0.8 <= similarity <= 1


@PATHS
@pytest.mark.parametrize(
    "other", [" ".join(reversed(LONG.split())), LONG[:60] + REVIEWS[3][:60], LONG[:40], ""]
)
def test_a_row_that_shares_less_is_not(pairs, other):
    assert pairs([LONG, *REVIEWS[:40], other]) == []


@PATHS
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
def test_honest_data_and_templates_give_no_false_alarm(pairs, texts):
    assert len(pairs(texts)) <= 2


@PATHS
@pytest.mark.parametrize(
    "other", ["where is my order", "Where is my order??", "Where is: MY order."]
)
def test_of_short_texts_the_words_must_be_the_same(pairs, other):
    texts = ["Where is my order?", *COUNTRIES, "Where is my older order?", other]

    assert pairs(texts) == [(len(texts) - 1, 0, 1.0)]


@PATHS
def test_short_texts_that_symbols_tell_apart_are_left_alone(pairs):
    sums = [
        f"What is {one} {sign} {two}?" for one in range(9) for two in range(9) for sign in "+-*/"
    ]
    signs = [f"{sign}{one}" for one in range(99) for sign in ("", "-", "$", "#")]

    assert pairs([*sums, *signs, "C", "C++", "C#", "F", "F#", "A", "A*", "R", "R&D"]) == []


@PATHS
def test_of_several_the_nearest_earlier_row_is_named_and_the_first_of_equals(pairs):
    near_one, far_one = LONG.replace("four", "five"), LONG.replace("seven", "three thirty")
    rows = pairs([far_one, near_one, near_one, LONG, *REVIEWS[:30]])

    assert [(row, earlier) for row, earlier, _ in rows][-1] == (3, 1)


@PATHS
def test_held_out_rows_are_compared_with_those_before_them_only(pairs):
    texts = [LONG, LONG + " Yes.", *REVIEWS[:20], LONG + " No.", LONG + " No."]

    assert [(row, earlier) for row, earlier, _ in pairs(texts, 22)] == [(22, 0), (23, 0)]


@pytest.mark.parametrize("kind", [Near, minhash.Sketches])
def test_rows_can_be_added_after_pairs_were_asked_for(kind):
    looked = kind()
    looked.add([*REVIEWS[:20], LONG])
    assert list(looked.pairs(None)) == []

    looked.add([LONG + " Yes.", REVIEWS[30], LONG])

    assert [(row, earlier) for row, earlier, _ in looked.pairs(None)] == [(21, 20), (23, 20)]


@PATHS
def test_without_rows_there_are_no_pairs(pairs):
    assert pairs([]) == []
    assert pairs(["", "a"]) == []


def test_a_thousand_times_the_same_row_costs_one_comparison_each():
    assert exact([LONG] * 1000) == [(row, 0, 1.0) for row in range(1, 1000)]


@pytest.mark.slow
def test_both_ways_find_the_same():
    chance = random.Random(5)
    texts = [edited(chance, chance.choice(REVIEWS[:150]), chance.randrange(4)) for _ in range(400)]

    slow, quick = ({row: rest for row, *rest in found} for found in (exact(texts), sketched(texts)))

    assert len(slow) > 50
    assert len(slow.keys() ^ quick.keys()) <= len(slow) // 50
    assert sum(slow[row][1] != quick[row][1] for row in slow.keys() & quick.keys()) <= 3


@pytest.mark.slow
def test_few_rows_are_compared_as_if_each_were_with_all():
    chance = random.Random(2)
    texts = [edited(chance, chance.choice(REVIEWS[20:50]), chance.randrange(4)) for _ in range(150)]
    sets = [near.shingles(near.normalised(text)) for text in texts]

    expected = {}
    for row, mine in enumerate(sets):
        shares = [len(mine & other) / len(mine | other) for other in sets[:row]]
        if shares and max(shares) >= near.THRESHOLD and len(near.normalised(texts[row])) >= 44:
            expected[row] = (shares.index(max(shares)), max(shares))

    assert {row: tuple(rest) for row, *rest in exact(texts)} == expected
    assert len(expected) > 20


def test_both_ways_bring_a_text_to_the_same_form():
    chance = random.Random(1)
    planes = (0x7F, 0x2FF, 0xFFFF, 0x10FFFF)
    texts = [
        "",
        " ",
        "\0",
        "a\0b",
        "!!",
        "ß",
        "\ud800 x",
        "a,,b  c!",
        "_x_ ",
        "日本 語",
        "İ",
        "½ ²",
    ]
    texts += [
        "".join(chr(chance.randrange(chance.choice(planes))) for _ in range(9)) for _ in range(500)
    ]

    assert minhash.normalised(texts).split("\0") == [near.normalised(text) for text in texts]


def test_many_rows_go_the_quick_way_and_keep_their_numbers(monkeypatch):
    monkeypatch.setattr(near, "FEW_ROWS", 20)
    looked = Near()
    for start in range(0, 60, 7):
        looked.add(REVIEWS[start : start + 7])
    looked.add([LONG, REVIEWS[13].upper(), LONG + "!"])

    assert list(looked.pairs()) == [(64, 13, 1.0), (65, 63, 1.0)]


@pytest.mark.slow
def test_few_rows_need_no_numpy():
    code = "import sys; from tuner.data.checks.near import Near; n = Near(); n.add(['a' * 90, 'b' * 90]);"
    code += "list(n.pairs()); print('numpy' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout == "False\n"
