"""Examples and pandas: no text is changed or made up, and the functions for notebooks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tuner import data
from tuner.errors import InvalidInput
from tuner.types import Example, Limits

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


def test_texts_survive_a_round_trip_through_a_dataframe():
    rows = tuple(Example(text, text[::-1], n) for n, text in enumerate(TEXTS, 1))

    again = data.from_frame(data.to_frame(rows))

    assert again == rows
    assert [each.line for each in again] == [each.line for each in rows]
    assert {type(each.text_input) for each in again} == {str}


@pytest.mark.parametrize(
    "kind", ["object", "string", "category", "string[python]", "string[pyarrow]"]
)
def test_every_column_type_for_texts_is_accepted(kind):
    if "pyarrow" in kind:
        pytest.importorskip("pyarrow")
    df = frame(text_input=["NA", "007"], output=["a", "b"]).astype(kind)

    assert data.from_frame(df) == (Example("NA", "a"), Example("007", "b"))


@pytest.mark.parametrize(
    "kind", ["object", "string", "category", "string[python]", "string[pyarrow]"]
)
def test_a_missing_value_is_an_error_in_every_column_type(kind):
    if "pyarrow" in kind:
        pytest.importorskip("pyarrow")
    df = frame(text_input=["x", "y", None], output=["a", None, "c"]).astype(kind)

    found = problems(data.from_frame, df)

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
        (slice(2), "a slice"),
    ],
)
def test_other_values_are_not_converted_to_text(value, said):
    import pandas as pd

    value = getattr(pd, value) if isinstance(value, str) else value
    df = frame(q=["x", value], a=["y", "z"])

    (problem,) = problems(data.from_frame, df, "q", "a")

    assert problem.where == "examples:2"
    assert problem.what == f"q is {said} where a text is needed (index 'label 1')"
    assert problem.rule == "not-text"


def test_a_missing_column_is_reported_with_the_existing_ones():
    (problem,) = problems(data.from_frame, frame(question=["x"], output=["y"]))

    assert problem.what == "there is no column 'text_input'; there is 'question', 'output'"


def test_two_columns_of_one_name_are_refused():
    import pandas as pd

    df = pd.DataFrame([["x", "y", "z"]], columns=["text_input", "output", "output"])

    (problem,) = problems(data.from_frame, df)

    assert problem.rule == "repeated-column"


@pytest.mark.parametrize(
    "rows", [["ab"], [{"text_input": "a", "output": "b"}], [("a", "b", "c")], "ab", [("a", 1)], 5]
)
def test_anything_but_pairs_of_texts_is_refused(rows):
    (problem,) = problems(data.dedupe, rows)

    assert problem.where == "examples:1"
    assert problem.rule == "not-text"


def test_a_bad_row_among_many_good_ones_keeps_its_number():
    rows = [*ROWS] * 30
    rows[5000] = ("x", None)

    (problem,) = problems(data.dedupe, rows)

    assert problem.line == 5001


def shuffled(df):
    return df.sample(frac=1, random_state=1)


def test_a_split_keeps_columns_and_index_and_does_not_depend_on_order():
    df = data.to_frame(ROWS).assign(id=range(200))

    train, held = data.split(df, 0.2, stratify=True)
    _, again = data.split(shuffled(df), 0.2, stratify=True)

    assert list(train.columns) == ["text_input", "output", "id"]
    assert sorted([*train.index, *held.index]) == list(range(1, 201))
    assert (held.index == held.id + 1).all()
    assert set(again.index) == set(held.index)
    assert held.output.value_counts().to_dict() == {"good": 32, "bad": 8}


def test_a_dataframe_and_its_examples_are_split_alike():
    _, frames = data.split(data.to_frame(ROWS), 0.2)
    _, examples = data.split(ROWS, 0.2)

    assert data.from_frame(frames) == examples
    assert [each.line for each in examples] == list(frames.index)


@pytest.mark.parametrize("share", [0, 1, -0.5, 10])
def test_a_share_outside_0_to_1_is_refused(share):
    (problem,) = problems(data.split, ROWS, share)

    assert problem.fix == "write a number between 0 and 1"


def test_dedupe_keeps_the_first_of_equal_rows():
    df = frame(text_input=["a", "b", "a", "A "], output=["x", "x", "x", "X"], id=[1, 2, 3, 4])

    assert list(data.dedupe(df).id) == [1, 2, 4]
    assert len(data.dedupe(df, ignore_case=True)) == 2


def test_which_of_similar_rows_stays_does_not_depend_on_order():
    df = frame(text_input=["a b", "A b", "a  B ", "c"], output=["x", "x", "X", "x"])

    kept = data.dedupe(df, ignore_case=True)
    again = data.dedupe(df[::-1], ignore_case=True)

    assert len(kept) == 2
    assert sorted(kept.text_input) == sorted(again.text_input)


def test_an_input_with_two_outputs_is_not_a_repetition():
    rows = [Example("a", "x"), Example("a", "y")]

    assert data.dedupe(rows, 0.8, ignore_case=True) == tuple(rows)


LONG = "the parcel arrived two days late and the box was badly dented on one of its corners {}"


def test_near_duplicates_with_one_output_are_removed():
    rows = [Example(LONG.format("today"), "x"), Example("something else entirely, and longer", "x")]
    near = [*rows, Example(LONG.format("today!!"), "x"), Example(LONG.format("today?"), "y")]

    kept = data.dedupe(near, 0.8)

    assert len(kept) == 3
    assert {each.output for each in kept} == {"x", "y"}
    assert set(kept) == set(data.dedupe(near[::-1], 0.8))


def test_a_similarity_below_0_8_is_refused():
    (problem,) = problems(data.dedupe, ROWS, 0.5)

    assert problem.fix == "write a similarity between 0.8 and 1"


def test_balance_keeps_as_many_rows_of_each_output_as_the_rarest_has():
    df = data.to_frame(ROWS)

    even = data.balance(df)

    assert even.output.value_counts().to_dict() == {"good": 40, "bad": 40}
    assert list(even.index) == sorted(even.index)
    assert set(even.index) == set(data.balance(shuffled(df)).index)
    assert len(data.balance(df, 50)) == 90
    assert data.balance(ROWS, 1)[0] in ROWS


def test_balance_does_not_bias_a_later_split():
    _, held = data.split(data.balance(ROWS), 0.2)

    assert 8 <= len(held) <= 24


@pytest.mark.parametrize("to", [0, -1, "largest", 2.5])
def test_balance_refuses_less_than_one_row(to):
    assert problems(data.balance, ROWS, to)[0].rule == "bad-argument"


def test_no_rows_give_no_rows():
    empty = data.to_frame(())

    assert data.from_frame(empty) == ()
    assert [len(side) for side in data.split(empty)] == [0, 0]
    assert len(data.dedupe(empty, 0.8)) == len(data.balance(empty)) == 0


def test_pandas_is_imported_only_when_a_dataframe_is_made():
    code = (
        "import sys; from tuner import data; data.split([('a', 'b')]); "
        "before = 'pandas' in sys.modules; data.to_frame([]); "
        "print(before, 'pandas' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.split() == ["False", "True"]


def test_stats_of_a_dataframe_count_its_rows():
    df = frame(text_input=["a", "bb", "bb", None, "ccc"], output=["x", "x", "x", "x", "y"])
    found = data.stats(df)

    assert (found.rows, found.unreadable, found.duplicates) == (4, 1, 1)
    assert (found.text_input.min, found.text_input.max, found.text_input.total) == (1, 3, 8)
    assert [(each.output, each.rows) for each in found.labels] == [("x", 3), ("y", 1)]
    assert data.stats([("a", "x"), ("bb", "x"), ("bb", "x"), ("ccc", "y")])[:1] == found[:1]
    assert problems(data.stats, df, text_input="question")
    assert problems(data.stats, frame(text_input=[1], output=[2]))


def test_check_returns_a_dataframe_of_findings_with_the_labels_of_its_rows():
    df = frame(text_input=["a", "", "a", "b"], output=["x", "y", "z", None])

    findings = data.check(df, ignore=["few-examples"])

    assert findings[["index", "line", "rule", "severity"]].to_numpy().tolist() == [
        ["label 1", 2, "empty-text-input", "error"],
        ["label 2", 3, "conflict", "warning"],
        ["label 3", 4, "not-text", "error"],
    ]
    assert all(findings["fix"])
    assert set(data.check(df).columns) > {"path", "column", "what"}
    assert problems(data.check, df, ignore=["not-text"])[0].rule == "bad-argument"


def test_check_and_to_frame_read_files_of_any_format(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "007", "completion": "NA"}\n{"prompt": "\\u0000", "completion": "b"}\n'
    )

    findings = data.check(path, ignore=["few-examples"])

    assert findings[["path", "line", "rule"]].to_numpy().tolist() == [
        [str(path), 2, "control-character"]
    ]
    assert data.to_frame(path).iloc[0].tolist() == ["007", "NA"]
    assert list(data.to_frame(str(path)).index) == [1, 2]
    path.write_text('{"prompt": "a"}\n')
    assert problems(data.to_frame, path)[0].rule == "no-key"


def test_limits_are_checked_on_request():
    df = frame(text_input=["long text"], output=["x"])

    found = data.check(df, limits=Limits(5, None, None))["rule"]

    assert list(found) == ["long-text-input"]
