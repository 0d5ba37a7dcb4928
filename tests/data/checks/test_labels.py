"""Outputs as a set of labels."""

from itertools import count

import pytest

from tests.fakes.batches import batch_of
from tuner.data.checks.labels import LabelCheck, is_misspelt
from tuner.types import Example


def found(*labels):
    """Line, rule and message of what is wrong with labels of so many rows each."""
    lines = count(2)
    rows = [
        Example(f"{label}{n}", label, next(lines)) for label, rows in labels for n in range(rows)
    ]
    checked = LabelCheck()
    checked.add(batch_of(rows))
    return [(each.line, each.rule) for each in checked.problems()]


@pytest.mark.parametrize(
    "label", ["postive", "posiitve", "Positive", "positive ", "positiv", "possitive"]
)
def test_a_rare_label_is_taken_for_a_frequent_one_and_each_row_named(label):
    assert found(("positive", 40), ("negative", 40), (label, 2)) == [
        (82, "label-typo"), (83, "label-typo"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"),
    [("positive", "negative"), ("grade 1", "grade 2"), ("cat", "car"), ("supported", "unsupported"), ("legal", "illegal"), ("yes", "no"), ("", "a"), ("increase", "decrease"), ("internal", "external")],
)  # fmt: skip
def test_labels_that_may_both_be_meant_are_not_misspelt(one, other):
    assert not is_misspelt(one, other)
    assert not is_misspelt(other, one)


def test_two_letters_exchanged_are_one_edit():
    assert is_misspelt("lable", "label")
    assert not is_misspelt("lebel", "table")


def test_a_label_in_two_spellings_is_told_once_however_frequent_both_are():
    assert found(("positive", 40), ("Positive", 30), ("negative", 40), ("negative ", 40)) == [
        (0, "label-typo"), (0, "label-typo"),
    ]  # fmt: skip
    assert found(("yes", 40), ("no", 40), ("", 5), (" ", 5)) == []


def test_what_is_not_that_rare_or_no_label_is_left_alone():
    assert found(("positive", 40), ("postive", 5), ("negative", 30)) == []
    assert found(*[(f"an answer of its own, number {n}", 1) for n in range(300)]) == []
    assert found(("x" * 100, 40), ("x" * 99, 1)) == []


def test_one_output_above_nine_of_ten_is_imbalance():
    assert found(("yes", 90), ("no", 10)) == [(0, "imbalance")]
    assert found(("yes", 89), ("no", 11)) == []
    assert found(("yes", 49)) == []
    assert found(("yes", 50)) == [(0, "imbalance")]
