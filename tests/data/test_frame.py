"""Examples and pandas: no text is changed or made up, and the functions for notebooks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tuner import data
from tuner.errors import InvalidInput
from tuner.types import Example, Limits

pytestmark = pytest.mark.slow  # importing pandas costs more CPU than a thousand other tests

TEXTS = ("NA", "None", "nan", "007", "1.0", "true", "", " x ", "a\r\nb", "\ud83d", "😀", "\0", "é")
LABELS = ("good",) * 8 + ("bad",) * 2
ROWS = tuple(Example(f"input {n}", LABELS[n % 10], n + 1) for n in range(200))
LONG = "the parcel arrived two days late and the box was badly dented on one of its corners {}"


def frame(**columns):
    import pandas as pd

    rows = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=[f"label {n}" for n in range(rows)], dtype=object)


def shuffled(df):
    return df.sample(frac=1, random_state=1)


def problems(function, *args, **options):
    with pytest.raises(InvalidInput) as caught:
        function(*args, **options)
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
def test_texts_are_accepted_and_missing_values_refused_in_every_column_type(kind):
    if "pyarrow" in kind:
        pytest.importorskip("pyarrow")
    df = frame(text_input=["NA", "007", None], output=["a", None, "c"]).astype(kind)

    found = problems(data.from_frame, df)

    assert data.from_frame(df[:1]) == (Example("NA", "a"),)
    assert [(each.where, each.what.split()[0]) for each in found] == [
        ("examples:2", "output"),
        ("examples:3", "text_input"),
    ]
    assert "(index 'label 1')" in found[0].what
    assert found[0].fix == 'fill it in, or drop such rows: df.dropna(subset=["output"])'


@pytest.mark.parametrize(
    ("value", "described"),
    [(7, "the number 7"), (7.5, "the number 7.5"), (True, "True"), (float("nan"), "NaN"), (None, "None"), ("NA", "missing"), ("NaT", "missing"), (b"x", "a bytes"), (["x"], "a list"), ("array", "a ndarray")],
)  # fmt: skip
def test_other_values_are_not_converted_to_text(value, described):
    import numpy as np
    import pandas as pd

    if isinstance(value, str):
        value = np.array([1, 2]) if value == "array" else getattr(pd, value)
    df = frame(q=["x", value], a=["y", "z"])

    (problem,) = problems(data.from_frame, df, "q", "a")

    assert (problem.where, problem.rule) == ("examples:2", "not-text")
    assert problem.what == f"q is {described} where a text is needed (index 'label 1')"


def test_a_missing_or_repeated_column_is_refused():
    import pandas as pd

    (missing,) = problems(data.from_frame, frame(question=["x"], output=["y"]))
    df = pd.DataFrame([["x", "y", "z"]], columns=["text_input", "output", "output"])
    (repeated,) = problems(data.from_frame, df)

    assert missing.what == "there is no column 'text_input'; there is 'question', 'output'"
    assert repeated.rule == "repeated-column"


@pytest.mark.parametrize(
    "rows", [["ab"], [{"text_input": "a", "output": "b"}], [("a", "b", "c")], "ab", [("a", 1)], 5]
)
def test_anything_but_pairs_of_texts_is_refused(rows):
    (problem,) = problems(data.dedupe, rows)

    assert (problem.where, problem.rule) == ("examples:1", "not-text")
    assert problems(data.dedupe, [*ROWS * 30, ("x", None)])[0].line == 6001  # in a later batch


def test_a_split_keeps_columns_and_index_and_does_not_depend_on_order():
    df = data.to_frame(ROWS).assign(id=range(200))

    train, held = data.split(df, 0.2, stratify=True)
    _, again = data.split(shuffled(df), 0.2, stratify=True)

    assert list(train.columns) == ["text_input", "output", "id"]
    assert sorted([*train.index, *held.index]) == list(range(1, 201))
    assert (held.index == held.id + 1).all()
    assert set(again.index) == set(held.index)
    assert held.output.value_counts().to_dict() == {"good": 32, "bad": 8}
    assert data.from_frame(held) == data.split(ROWS, 0.2, stratify=True)[1]


@pytest.mark.parametrize(
    ("function", "value", "fix"),
    [
        *((data.split, share, "write a number between 0 and 1") for share in (0, 1, -0.5, 10)),
        (data.dedupe, 0.5, "write a similarity between 0.8 and 1"),
        *((data.balance, rows, "write a number of rows") for rows in (0, -1, "largest", 2.5)),
    ],
)
def test_a_number_out_of_range_is_refused(function, value, fix):
    (problem,) = problems(function, ROWS, value)

    assert problem.rule == "bad-argument"
    assert problem.fix.startswith(fix)


def test_dedupe_keeps_the_first_of_equal_rows_and_conflicts():
    df = frame(text_input=["a", "b", "a", "A ", "a"], output=["x", "x", "x", "X", "y"])

    assert list(data.dedupe(df).index) == ["label 0", "label 1", "label 3", "label 4"]
    assert len(data.dedupe(df, 0.8, ignore_case=True)) == 3


def test_which_of_similar_rows_stays_does_not_depend_on_order():
    texts = ["a b", "A b", "a  B ", "c", *(LONG.format(end) for end in ("today", "today!!"))]
    df = frame(text_input=[*texts, LONG.format("today?")], output=["x"] * 6 + ["y"])

    kept = data.dedupe(df, 0.8, ignore_case=True)
    again = data.dedupe(df[::-1], 0.8, ignore_case=True)

    assert len(kept) == 4
    assert sorted(kept.text_input) == sorted(again.text_input)


def test_balance_keeps_as_many_rows_of_each_output_as_the_rarest_has():
    df = data.to_frame(ROWS)

    even = data.balance(df)

    assert even.output.value_counts().to_dict() == {"good": 40, "bad": 40}
    assert list(even.index) == sorted(even.index)
    assert set(even.index) == set(data.balance(shuffled(df)).index)
    assert len(data.balance(df, 50)) == 90
    assert data.balance(ROWS, 1)[0] in ROWS
    assert 8 <= len(data.split(data.balance(ROWS), 0.2)[1]) <= 24


def test_no_rows_give_no_rows():
    empty = data.to_frame(())

    assert data.from_frame(empty) == ()
    assert [len(rows) for rows in data.split(empty)] == [0, 0]
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
    assert set(findings.columns) > {"path", "column", "what"}
    assert "long-text-input" in set(data.check(df, limits=Limits(0, None, None)).rule)
    assert problems(data.check, df, ignore=["not-text"])[0].rule == "bad-argument"


def test_check_and_to_frame_read_files_of_any_format(tmp_path):
    path = tmp_path / "rows.jsonl"
    good, bad = '{"prompt": "007", "completion": "NA"}\n', '{"prompt": "a"}\n'
    path.write_text(good + '{"prompt": "\\u0000", "completion": "b"}\n')

    findings = data.check(path, ignore=["few-examples"])

    assert findings[["path", "line", "rule"]].to_numpy().tolist() == [
        [str(path), 2, "control-character"]
    ]
    assert data.to_frame(path).iloc[0].tolist() == ["007", "NA"]
    assert list(data.to_frame(str(path)).index) == [1, 2]
    path.write_text(good + bad)
    assert problems(data.to_frame, path)[0].rule == "no-key"
