"""Statistics of examples, and the page that shows them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.fakes.batches import batch_of
from tuner.data.summary import Label, measure_lengths, summarize, summary_page
from tuner.errors import Problem
from tuner.types import Example

ROWS = [(f"secret {n} " + "word " * (n % 17), "<b>yes</b>" if n % 3 else "no&") for n in range(90)]


def batch(*rows, problems=()):
    return batch_of([*(Example(*row) for row in rows), *problems])


def words(inputs, outputs):
    return zip(map(len, map(str.split, inputs)), map(len, map(str.split, outputs)), strict=True)


def page_of(rows, count_tokens=None, **options):
    return summary_page(summarize([batch(*rows)], count_tokens), "a<b>.csv", "Counted.", **options)


@pytest.mark.parametrize("rows", [1, 2, 19, 20, 21, 100, 999])
def test_a_percentile_is_the_smallest_length_that_so_many_rows_do_not_exceed(rows):
    dice = random.Random(rows)
    found = [dice.randrange(300) for _ in range(rows)]

    lengths = measure_lengths(Counter(found))

    for percent, value in ((5, lengths.p5), (50, lengths.p50), (95, lengths.p95)):
        assert value in found
        assert sum(each <= value for each in found) >= rows * percent / 100
        assert sum(each < value for each in found) < rows * percent / 100
    assert (lengths.min, lengths.max, lengths.total) == (min(found), max(found), sum(found))
    assert lengths.mean == pytest.approx(sum(found) / rows)


@pytest.mark.parametrize(
    "found",
    [[7], [0, 0], [1, 1000], list(range(500)), [*range(100), *range(100), 10**7]],
    ids=["one", "empty texts", "two", "many", "one far out"],
)
def test_the_bins_contain_every_row_once_in_order(found):
    bins = measure_lengths(Counter(found)).bins

    for each in bins:
        assert each.rows == sum(each.low <= length <= each.high for length in found)
    assert sum(each.rows for each in bins) == len(found)
    assert [each.high + 1 for each in bins[:-1]] == [each.low for each in bins[1:]]
    assert len(bins) <= 21
    assert len(found) < 10 or sum(each.rows > 0 for each in bins) >= 10


def test_duplicates_and_blank_texts_are_counted_over_all_batches():
    bad = Problem("rows.csv", 9, 1, "is cut")
    stats = summarize([batch(("a", "x"), (" ", "")), batch(("a", "x"), ("a", "y"), problems=[bad])])

    assert (stats.rows, stats.unreadable, stats.duplicates) == (4, 1, 1)
    assert (stats.blank_text_inputs, stats.blank_outputs) == (1, 1)


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        (["yes", "no", "no"] * 10, (Label("no", 20), Label("yes", 10))),
        ([f"answer {n}" for n in range(30)], ()),
        (["x" * 201] * 30, ()),
        ([str(n % 60) for n in range(300)], ()),
    ],
    ids=["few", "different", "long", "many"],
)
def test_outputs_that_repeat_are_labels(outputs, labels):
    rows = [(f"q{n}", output) for n, output in enumerate(outputs)]

    assert summarize([batch(*rows)]).labels == labels
    assert ("<h2>Outputs</h2><table>" in page_of(rows)) == bool(labels)


def test_tokens_are_measured_with_a_tokenizer():
    stats = summarize([batch(("a b c", "d"), ("a", "b c"))], words)

    assert (stats.prompt_tokens.max, stats.output_tokens.max, stats.example_tokens.max) == (3, 2, 4)
    assert summarize([batch(("a", "b"))]).prompt_tokens is None


def test_without_rows_there_are_no_lengths():
    stats = summarize([])

    assert (stats.rows, stats.lengths, stats.labels) == (0, {}, ())
    assert "0" in page_of([])


def test_the_page_needs_no_other_file_and_contains_no_input_or_path():
    text = page_of(ROWS, words, limit=10)

    body = text.partition("<body>")[2].partition("</body>")[0]
    ET.fromstring(f"<x>{body}</x>")  # noqa: S314 -- our own page: elements are closed, texts escaped
    assert "&lt;b&gt;yes&lt;/b&gt;" in body
    for unwanted in ("secret", "<script", "http", "src=", "@import", "url(", str(Path.home())):
        assert unwanted not in text


def test_every_picture_names_its_axes_and_marks_a_near_limit():
    text = page_of(ROWS, words, limit=10)

    for picture in text.split("<svg")[1:]:
        svg = picture.partition("</svg>")[0]
        assert ">rows</text>" in svg
        assert ">characters</text>" in svg or ">tokens</text>" in svg
    assert text.count("limit 10") == 1
    assert "limit" not in page_of(ROWS, words, limit=10_000)


def test_rows_of_equal_length_are_a_sentence_and_equal_marks_share_a_label():
    equal = page_of([(f"{n:03}", "yes") for n in range(50)])

    assert equal.count("All rows have 3 characters.") == 2
    assert "<svg" not in equal
    assert "median and 95 % 3" in page_of([(f"{n:03}", "yes" if n else "no") for n in range(50)])
