"""Statistics of examples, and the page that shows them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tuner.data import Batch, nowhere
from tuner.data.summary import Label, measure_lengths, summarize, summary_page
from tuner.errors import Problem


def batch(*rows, problems=()):
    inputs, outputs = zip(*rows, strict=True) if rows else ((), ())
    return Batch("rows.csv", inputs, outputs, range(2, 2 + len(rows)), problems, nowhere)


def words(inputs, outputs):
    return zip(map(len, map(str.split, inputs)), map(len, map(str.split, outputs)), strict=True)


@pytest.mark.parametrize("rows", [1, 2, 19, 20, 21, 100, 999])
def test_a_percentile_is_the_least_length_that_so_many_rows_do_not_exceed(rows):
    dice = random.Random(rows)
    found = [dice.randrange(300) for _ in range(rows)]

    figures = measure_lengths(Counter(found))

    for percent, value in ((5, figures.p5), (50, figures.p50), (95, figures.p95)):
        assert value in found
        assert sum(each <= value for each in found) >= rows * percent / 100
        assert sum(each < value for each in found) < rows * percent / 100
    assert (figures.min, figures.max) == (min(found), max(found))
    assert figures.mean == pytest.approx(sum(found) / rows)
    assert figures.total == sum(found)


@pytest.mark.parametrize(
    "found",
    [[7], [0, 0], [1, 1000], list(range(500)), [*range(40), *range(40), 10**7]],
    ids=["one", "empty texts", "two", "many", "one far out"],
)
def test_the_bins_hold_every_row_once_in_order(found):
    bins = measure_lengths(Counter(found)).bins

    assert sum(each.rows for each in bins) == len(found)
    for each in bins:
        assert each.rows == sum(each.low <= length <= each.high for length in found)
    assert [each.high + 1 for each in bins[:-1]] == [each.low for each in bins[1:]]
    assert len(bins) <= 21


def test_a_row_far_longer_than_the_others_does_not_squeeze_them_into_one_bin():
    bins = measure_lengths(Counter([*range(100), *range(100), 10**7])).bins

    assert bins[-1].high >= 10**7
    assert sum(each.rows > 0 for each in bins) > 10


def test_duplicates_and_blank_texts_are_counted_over_all_batches():
    bad = Problem("rows.csv", 9, 1, "is cut")
    stats = summarize([batch(("a", "x"), (" ", "")), batch(("a", "x"), ("a", "y"), problems=[bad])])

    assert (stats.rows, stats.unreadable, stats.duplicates) == (4, 1, 1)
    assert (stats.blank_text_inputs, stats.blank_outputs) == (1, 1)


def test_outputs_that_repeat_are_labels_and_others_are_not():
    few = [(f"q{n}", ["yes", "no", "no"][n % 3]) for n in range(30)]
    many = [(f"q{n}", f"answer {n}") for n in range(30)]
    long = [(f"q{n}", "x" * 201) for n in range(30)]

    assert summarize([batch(*few)]).labels == (Label("no", 20), Label("yes", 10))
    assert summarize([batch(*many)]).labels == ()
    assert summarize([batch(*long)]).labels == ()
    assert summarize([batch(*[(f"q{n}", str(n % 60)) for n in range(300)])]).labels == ()


def test_tokens_are_measured_with_a_tokenizer():
    stats = summarize([batch(("a b c", "d"), ("a", "b c"))], words)

    assert (stats.prompt_tokens.max, stats.output_tokens.max, stats.example_tokens.max) == (3, 2, 4)
    assert summarize([batch(("a", "b"))]).prompt_tokens is None


def test_without_rows_there_are_no_lengths():
    stats = summarize([])

    assert (stats.rows, stats.lengths, stats.labels) == (0, {}, ())
    assert "0" in summary_page(stats, "nothing.csv")


ROWS = [(f"secret {n} " + "word " * (n % 17), "<b>yes</b>" if n % 3 else "no&") for n in range(90)]


def test_the_page_needs_no_other_file_and_contains_no_input():
    text = summary_page(summarize([batch(*ROWS)], words), "a<b>.csv", "Counted.", limit=10)

    body = text.partition("<body>")[2].partition("</body>")[0]
    ET.fromstring(f"<x>{body}</x>")  # noqa: S314 -- our own page: every element is closed, all is escaped
    assert "secret" not in text
    assert "&lt;b&gt;yes&lt;/b&gt;" in body
    for outside in ("<script", "http", "src=", "@import", "url("):
        assert outside not in text


def test_the_page_contains_no_outputs_that_are_not_labels():
    rows = [(f"q{n}", f"my answer {n}") for n in range(30)]

    assert "my answer" not in summary_page(summarize([batch(*rows)]), "free.csv")


def test_every_picture_names_its_axes_and_marks_a_near_limit():
    text = summary_page(summarize([batch(*ROWS)], words), "rows.csv", limit=10)

    for picture in text.split("<svg")[1:]:
        svg = picture.partition("</svg>")[0]
        assert ">rows</text>" in svg
        assert ">characters</text>" in svg or ">tokens</text>" in svg
    assert text.count("limit 10") == 1
    assert "limit" not in summary_page(summarize([batch(*ROWS)], words), "rows.csv", limit=10_000)


def test_the_page_shows_no_path():
    assert str(Path.home()) not in summary_page(summarize([batch(*ROWS)]), "rows.csv")


def test_rows_of_equal_length_are_a_sentence_instead_of_a_picture():
    text = summary_page(summarize([batch(*[(f"{n:03}", "yes") for n in range(50)])]), "rows.csv")

    assert text.count("All rows have 3 characters.") == 2
    assert "<svg" not in text


def test_two_marks_at_one_length_share_a_label():
    rows = [(f"{n:03}", "yes" if n else "no") for n in range(50)]

    assert "median and 95 % 3" in summary_page(summarize([batch(*rows)]), "rows.csv")
