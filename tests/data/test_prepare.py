"""Frames in, frames out, and no text is changed or made up."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tuner.data import prepare
from tuner.errors import InvalidInput
from tuner.types import Example

pytestmark = pytest.mark.slow  # importing pandas costs more CPU than a thousand other tests

TEXTS = (
    "NA",
    "None",
    "nan",
    "007",
    "1.0",
    "true",
    "",
    " x ",
    "a\r\nb",
    "\ud83d",
    "😀",
    "\x00",
    "é",
)
LABELS = ("good",) * 8 + ("bad",) * 2
ROWS = tuple(Example(f"input {n}", LABELS[n % 10], n + 1) for n in range(200))


def frame(**columns):
    import pandas as pd

    rows = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=[f"label {n}" for n in range(rows)], dtype=object)


def problems(make, *args, **options):
    with pytest.raises(InvalidInput) as caught:
        make(*args, **options)
    return caught.value.problems


def test_a_text_is_the_same_after_a_frame():
    rows = tuple(Example(text, text[::-1], n) for n, text in enumerate(TEXTS, 1))

    again = prepare.from_frame(prepare.to_frame(rows))

    assert again == rows
    assert [each.line for each in again] == [each.line for each in rows]
    assert {type(each.text_input) for each in again} == {str}


@pytest.mark.parametrize(
    "kind", ["object", "string", "category", "string[python]", "string[pyarrow]"]
)
def test_every_type_of_column_that_holds_texts_is_taken(kind):
    if "pyarrow" in kind:
        pytest.importorskip("pyarrow")
    df = frame(text_input=["NA", "007"], output=["a", "b"]).astype(kind)

    assert prepare.from_frame(df) == (Example("NA", "a"), Example("007", "b"))


@pytest.mark.parametrize(
    "kind", ["object", "string", "category", "string[python]", "string[pyarrow]"]
)
def test_a_gap_is_no_text_in_any_type_of_column(kind):
    if "pyarrow" in kind:
        pytest.importorskip("pyarrow")
    df = frame(text_input=["x", "y", None], output=["a", None, "c"]).astype(kind)

    found = problems(prepare.from_frame, df)

    assert [(each.where, each.what.split()[0]) for each in found] == [
        ("examples:2", "output"),
        ("examples:3", "text_input"),
    ]
    assert "(index 'label 1')" in found[0].what
    assert found[0].fix == 'fill it in, or drop such rows: df.dropna(subset=["output"])'


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7, "the number 7"),
        (7.5, "the number 7.5"),
        (True, "True"),
        (float("nan"), "NaN"),
        (None, "None"),
        ("NA", "missing"),
        ("NaT", "missing"),
        (b"x", "a bytes"),
        (["x"], "a list"),
    ],
)
def test_nothing_but_a_text_is_made_a_text(value, said):
    import pandas as pd

    value = getattr(pd, value) if isinstance(value, str) else value
    df = frame(q=["x", value], a=["y", "z"])

    (problem,) = problems(prepare.from_frame, df, "q", "a")

    assert problem.where == "examples:2"
    assert problem.what == f"q is {said} where a text is needed (index 'label 1')"
    assert problem.rule == "not-text"


def test_an_array_in_a_cell_is_no_text():
    import numpy as np

    df = frame(q=["x", np.array([1, 2])], a=["y", "z"])

    (problem,) = problems(prepare.from_frame, df, "q", "a")

    assert problem.what == "q is a ndarray where a text is needed (index 'label 1')"


def test_a_column_of_numbers_is_refused_row_by_row():
    found = problems(prepare.from_frame, frame(text_input=["x", "y"], output=[1, 2]))

    assert [each.line for each in found] == [1, 2]
    assert found[0].fix == 'make it text yourself and look at the result: df["output"].map(str)'


def test_a_column_that_is_not_there_is_named_with_those_that_are():
    (problem,) = problems(prepare.from_frame, frame(question=["x"], output=["y"]))

    assert problem.what == "there is no column 'text_input'; there is 'question', 'output'"


def test_two_columns_of_one_name_are_refused():
    import pandas as pd

    df = pd.DataFrame([["x", "y", "z"]], columns=["text_input", "output", "output"])

    (problem,) = problems(prepare.from_frame, df)

    assert problem.rule == "repeated-column"


@pytest.mark.parametrize(
    "rows", [["ab"], [{"text_input": "a", "output": "b"}], [("a", "b", "c")], "ab", [("a", 1)], 5]
)
def test_what_is_no_pair_of_texts_is_no_example(rows):
    (problem,) = problems(prepare.dedupe, rows)

    assert problem.where == "examples:1"
    assert problem.rule == "not-text"


def test_a_bad_row_among_many_good_ones_keeps_its_number():
    rows = [*ROWS] * 30
    rows[5000] = ("x", None)

    (problem,) = problems(prepare.dedupe, rows)

    assert problem.line == 5001


def shuffled(df):
    return df.sample(frac=1, random_state=1)


def test_a_split_keeps_columns_and_index_and_knows_no_order():
    df = prepare.to_frame(ROWS).assign(id=range(200))

    train, held = prepare.split(df, 0.2, stratify=True)
    _, again = prepare.split(shuffled(df), 0.2, stratify=True)

    assert list(train.columns) == ["text_input", "output", "id"]
    assert sorted([*train.index, *held.index]) == list(range(1, 201))
    assert (held.index == held.id + 1).all()
    assert set(again.index) == set(held.index)
    assert held.output.value_counts().to_dict() == {"good": 32, "bad": 8}


def test_a_frame_and_its_examples_are_parted_alike():
    _, frames = prepare.split(prepare.to_frame(ROWS), 0.2)
    _, examples = prepare.split(ROWS, 0.2)

    assert prepare.from_frame(frames) == examples
    assert [each.line for each in examples] == list(frames.index)


@pytest.mark.parametrize("share", [0, 1, -0.5, 10])
def test_a_share_is_between_none_and_all(share):
    (problem,) = problems(prepare.split, ROWS, share)

    assert problem.fix == "write a number between 0 and 1"


def test_the_first_of_equal_rows_stays_whatever_else_is_in_them():
    df = frame(text_input=["a", "b", "a", "A "], output=["x", "x", "x", "X"], id=[1, 2, 3, 4])

    assert list(prepare.dedupe(df).id) == [1, 2, 4]
    assert len(prepare.dedupe(df, ignore_case=True)) == 2


def test_which_of_similar_rows_stays_is_decided_by_their_texts():
    df = frame(text_input=["a b", "A b", "a  B ", "c"], output=["x", "x", "X", "x"])

    kept = prepare.dedupe(df, ignore_case=True)
    again = prepare.dedupe(df[::-1], ignore_case=True)

    assert len(kept) == 2
    assert sorted(kept.text_input) == sorted(again.text_input)


def test_an_input_with_two_outputs_is_no_repetition():
    rows = [Example("a", "x"), Example("a", "y")]

    assert prepare.dedupe(rows, 0.8, ignore_case=True) == tuple(rows)


LONG = "the parcel arrived two days late and the box was badly dented on one of its corners {}"


def test_nearly_the_same_inputs_with_one_output_are_one():
    rows = [Example(LONG.format("today"), "x"), Example("something else entirely, and longer", "x")]
    near = [*rows, Example(LONG.format("today!!"), "x"), Example(LONG.format("today?"), "y")]

    kept = prepare.dedupe(near, 0.8)

    assert len(kept) == 3
    assert {each.output for each in kept} == {"x", "y"}
    assert set(kept) == set(prepare.dedupe(near[::-1], 0.8))


def test_a_similarity_below_what_is_found_is_refused():
    (problem,) = problems(prepare.dedupe, ROWS, 0.5)

    assert problem.fix == "write a similarity between 0.8 and 1"


def test_balance_leaves_as_many_of_each_as_the_rarest_has():
    df = prepare.to_frame(ROWS)

    even = prepare.balance(df)

    assert even.output.value_counts().to_dict() == {"good": 40, "bad": 40}
    assert list(even.index) == sorted(even.index)
    assert set(even.index) == set(prepare.balance(shuffled(df)).index)
    assert len(prepare.balance(df, 50)) == 90
    assert prepare.balance(ROWS, 1)[0] in ROWS


def test_balance_before_a_split_leaves_both_sides_their_share():
    _, held = prepare.split(prepare.balance(ROWS), 0.2)

    assert 8 <= len(held) <= 24


@pytest.mark.parametrize("to", [0, -1, "largest", 2.5])
def test_a_number_of_rows_is_at_least_one(to):
    assert problems(prepare.balance, ROWS, to)[0].rule == "bad-argument"


def test_no_rows_give_no_rows():
    empty = prepare.to_frame(())

    assert prepare.from_frame(empty) == ()
    assert [len(side) for side in prepare.split(empty)] == [0, 0]
    assert len(prepare.dedupe(empty, 0.8)) == len(prepare.balance(empty)) == 0


def test_pandas_is_imported_when_a_frame_is_made_and_not_before():
    code = (
        "import sys; from tuner.data import from_frame, to_frame, prepare; "
        "prepare.split([('a', 'b')]); before = 'pandas' in sys.modules; to_frame([]); "
        "print(before, 'pandas' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.split() == ["False", "True"]


def test_the_figures_of_a_frame_are_those_of_its_rows():
    df = frame(text_input=["a", "bb", "bb", None, "ccc"], output=["x", "x", "x", "x", "y"])
    found = prepare.stats(df)

    assert (found.rows, found.unreadable, found.duplicates) == (4, 1, 1)
    assert (found.text_input.min, found.text_input.max, found.text_input.total) == (1, 3, 8)
    assert [(each.output, each.rows) for each in found.labels] == [("x", 3), ("y", 1)]
    assert prepare.stats([("a", "x"), ("bb", "x"), ("bb", "x"), ("ccc", "y")])[:1] == found[:1]
    assert problems(prepare.stats, df, text_input="question")
    assert problems(prepare.stats, frame(text_input=[1], output=[2]))
