"""Handwritten broken files, whose every defect is found in its place, and good files."""

from pathlib import Path

import pytest

from tuner.data.checks import Checks
from tuner.data.dataset import Source, read
from tuner.types import Limits

HERE = Path(__file__).parent


def declared(table):
    """Return file name, options and expectation of every line that is not a comment."""
    cases = []
    for line in (HERE / table).read_text().splitlines():
        if not line.startswith("#"):
            named, what = line.split("  ", 1)
            name, *options = named.split()
            how = dict(each.split("=") for each in options)
            cases.append(pytest.param(name, how, what.strip(), id=name))
    return cases


def read_and_check(path, options):
    """Return the problems of a file, and its number of good rows."""
    how = {"encoding": "utf-8", "multi_turn": "refuse", "limits": "40000/5000"} | options
    text_input_chars, output_chars = map(int, how.pop("limits").split("/"))
    checks = Checks(Limits(text_input_chars, output_chars, None))
    problems, rows = [], 0
    for batch in read(Source((path,), **how)):
        rows += len(batch.lines)
        problems += checks.check_training(batch)
    problems += checks.finish()
    return [each for each in problems if each.rule != "few-examples"], rows


def shown(problem):
    """Return a problem as the table writes it: ``3:7 rule``."""
    return f"{problem.line}:{problem.column} {problem.rule}"


@pytest.mark.parametrize(("name", "options", "defects"), declared("broken/places.txt"))
def test_every_defect_is_found_in_its_place_and_nothing_else(name, options, defects):
    path, places = HERE / "broken" / name, defects.split(", ")

    problems, _ = read_and_check(path, options)

    assert sorted(map(shown, problems)) == sorted(places)
    assert {each.path for each in problems} == {str(path)}
    assert all(each.what and each.fix for each in problems)


TABLES = {
    "a number": ({"text_input": ["a", "b"], "output": [1, 2]}, ["1:0 not-text", "2:0 not-text"]),
    "a null": ({"text_input": ["a", None, "c"], "output": ["d", "e", "f"]}, ["2:0 not-text"]),
    "a list": ({"text_input": [["a"]], "output": ["d"]}, ["1:0 not-text"]),
    "an empty text": ({"text_input": ["a", "b"], "output": ["", "d"]}, ["1:0 empty-output"]),
    "a control character": (
        {"text_input": ["a", "b\0c"], "output": ["d", "e"]},
        ["2:0 control-character"],
    ),
    "a row twice": (
        {"text_input": ["a", "b", "a"], "output": ["c", "d", "c"]},
        ["3:0 duplicate"],
    ),
    "another label": (
        {"text_input": ["a", "b", "a"], "output": ["c", "d", "e"]},
        ["3:0 conflict"],
    ),
    "a column missing": ({"text_input": ["a"], "answer": ["b"]}, ["0:0 no-column"]),
    "no rows": ({"text_input": [], "output": []}, ["0:0 no-examples"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", TABLES)
def test_every_defect_of_a_parquet_or_arrow_file_is_found_in_its_row(tmp_path, what):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    columns, places = TABLES[what]
    table = pa.table(columns)
    if what == "no rows":
        table = table.cast(pa.schema([(name, pa.string()) for name in columns]))
    parquet.write_table(table, tmp_path / "x.parquet")
    feather.write_feather(table, tmp_path / "x.arrow")

    for path in tmp_path.iterdir():
        problems, _ = read_and_check(path, {})

        assert sorted(map(shown, problems)) == sorted(places)


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 3, 4, 60, -200, -5])
def test_a_damaged_parquet_file_is_one_error(tmp_path, size):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"text_input": ["a"] * 9, "output": ["b"] * 9}), path)
    path.write_bytes(path.read_bytes()[:size])

    problems, rows = read_and_check(path, {})

    assert [(each.line, each.rule) for each in problems] == [(0, "bad-parquet")]
    assert rows == 0


@pytest.mark.slow
@pytest.mark.parametrize("offsets", [(0, 2**30, 1), (1, 0, 1)])
def test_an_arrow_file_with_wrong_offsets_is_one_error(tmp_path, offsets):
    pa = pytest.importorskip("pyarrow")
    from array import array

    buffers = [None, pa.py_buffer(array("i", offsets).tobytes()), pa.py_buffer(b"x")]
    texts = pa.Array.from_buffers(pa.string(), 2, buffers)
    batch = pa.record_batch({"text_input": texts, "output": ["a", "b"]})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), batch.schema) as writer:
        writer.write_batch(batch)

    problems, rows = read_and_check(tmp_path / "x.arrow", {})

    assert [(each.line, each.rule) for each in problems] == [(0, "bad-parquet")]
    assert rows == 0


@pytest.mark.parametrize(("name", "options", "count"), declared("good/rows.txt"))
def test_a_good_file_has_no_problems(name, options, count):
    assert read_and_check(HERE / "good" / name, options) == ([], int(count))


@pytest.mark.parametrize(("folder", "table"), [("broken", "places.txt"), ("good", "rows.txt")])
def test_every_file_is_listed_once(folder, table):
    names = [each.id for each in declared(f"{folder}/{table}")]

    assert [*sorted(names), table] == sorted(
        (each.name for each in (HERE / folder).iterdir()), key=lambda name: (name == table, name)
    )
