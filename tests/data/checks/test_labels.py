"""Outputs as a set of labels."""

from itertools import count

import pytest

from tests.fakes.batches import batch_of
from tuner.data.checks.labels import LabelCheck, is_misspelt
from tuner.types import Example


def found(*labels):
    """Line and rule of the problems of labels with so many rows each."""
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
def test_each_row_with_a_misspelt_label_is_reported(label):
    assert found(("positive", 40), ("negative", 40), (label, 2)) == [
        (82, "label-typo"), (83, "label-typo"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"),
    [("positive", "negative"), ("grade 1", "grade 2"), ("cat", "car"), ("supported", "unsupported"), ("legal", "illegal"), ("yes", "no"), ("", "a"), ("increase", "decrease"), ("internal", "external")],
)  # fmt: skip
def test_labels_that_may_both_be_intended_are_not_misspelt(one, other):
    assert not is_misspelt(one, other)
    assert not is_misspelt(other, one)


def test_two_swapped_letters_are_one_edit():
    assert is_misspelt("lable", "label")
    assert not is_misspelt("lebel", "table")


def test_a_label_in_two_frequent_spellings_is_reported_once():
    assert found(("positive", 40), ("Positive", 30), ("negative", 40), ("negative ", 40)) == [
        (0, "label-typo"), (0, "label-typo"),
    ]  # fmt: skip
    assert found(("yes", 40), ("no", 40), ("", 5), (" ", 5)) == []


def test_outputs_that_are_not_rare_or_not_labels_are_not_misspelt():
    assert found(("positive", 40), ("postive", 5), ("negative", 30)) == []
    assert found(*[(f"an answer of its own, number {n}", 1) for n in range(300)]) == []
    assert found(("x" * 100, 40), ("x" * 99, 1)) == []


def test_one_output_in_nine_of_ten_rows_is_imbalance():
    assert found(("yes", 90), ("no", 10)) == [(0, "imbalance")]
    assert found(("yes", 89), ("no", 11)) == []
    assert found(("yes", 49)) == []
    assert found(("yes", 50)) == [(0, "imbalance")]
