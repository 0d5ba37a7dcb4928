"""What every reader does, whatever the format: text reaches the model exactly as written."""

import csv
import io
import json
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.data import READERS, USUAL, Columns, Source, detect, read_rows
from tuner.errors import Problem
from tuner.types import Example


def as_csv(rows, columns):
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([columns, *rows])
    return file.getvalue()


def as_jsonl(rows, columns):
    return "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)


WRITERS = {"csv": as_csv, "jsonl": as_jsonl}
"""A new reader needs a writer here; nothing else."""

FORMATS = pytest.mark.parametrize("name", READERS)
TEXTS = [
    "NA", "None", "null", "nan", "", " ", "007", "1.0", "1e5", "true", "False", "2026-11-22",
    " padded ", "a\nb", "a\r\nb", "\n", "tab\there", 'a "quoted" word', "a,b;c|d", "'", "=1+1",
    "\\n", "é", "e\u0301", "🙂", "\u200b", "\u2028", "\x0b", "\x00", "\ufeff", "#", "{}", "[]",
]  # fmt: skip


def read(path, content, columns=USUAL, **options):
    path.write_bytes(content.encode())
    return list(read_rows(Source((path,), columns, **options)))


def test_every_reader_has_a_writer_to_be_tested_with():
    assert set(WRITERS) == set(READERS)


@FORMATS
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_reaches_the_model_exactly_as_written(tmp_path, name, text):
    content = WRITERS[name]([(text, "x"), ("y", text)], Columns())

    rows = read(tmp_path / "data", content, format=name)

    assert rows == [Example(text, "x"), Example("y", text)]


@FORMATS
@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5))
def test_so_does_any_text_at_all(tmp_path_factory, name, rows):
    path = tmp_path_factory.getbasetemp() / f"any-{name}"

    found = read(path, WRITERS[name](rows, Columns()), format=name)

    assert found == [Example(*row) for row in rows]


@FORMATS
def test_columns_go_by_the_names_given(tmp_path, name):
    columns = Columns("the question", "Antwort")

    assert read(tmp_path / "data", WRITERS[name]([("1", "2")], columns), columns, format=name) == [
        Example("1", "2")
    ]


@FORMATS
def test_a_missing_column_is_a_problem_that_names_those_there(tmp_path, name):
    content = WRITERS[name]([("1", "2")], Columns())

    (problem,) = read(tmp_path / "data", content, Columns("text_input", "outptu"), format=name)

    assert "'outptu'" in problem.what
    assert "'text_input', 'output'" in problem.what
    assert "'output'" in problem.fix


@FORMATS
def test_lines_count_from_one_and_rise(tmp_path, name):
    content = WRITERS[name]([(f"{n}", "x") for n in range(50)], Columns())
    lines = [row.line for row in read(tmp_path / "data", content, format=name)]

    assert lines == sorted(set(lines))
    assert content.splitlines()[lines[7] - 1].count("7")


@FORMATS
def test_the_format_is_told_by_name_and_by_content(tmp_path, name):
    content = WRITERS[name]([("1", "2")], Columns())
    for suffix in READERS[name].suffixes:
        assert detect(tmp_path / f"any{suffix.upper()}") == name
    (tmp_path / "data").write_text(f"\ufeff\n{content}")

    assert detect(tmp_path / "data") == name


@FORMATS
def test_a_file_that_cannot_be_read_is_a_problem(tmp_path, name):
    (problem,) = read_rows(Source((tmp_path / "none",), format=name))
    (folder,) = read_rows(Source((tmp_path,), format=name))

    assert isinstance(problem, Problem)
    assert "no such file" in problem.what
    assert "is a directory" in folder.what


@FORMATS
def test_rows_are_read_as_they_are_asked_for(tmp_path, name):
    content = WRITERS[name]([("1", "2")] * 100_000, Columns())
    (tmp_path / "data").write_text(content)
    rows = read_rows(Source((tmp_path / "data",), format=name))

    assert len(list(islice(rows, 2))) == 2
    rows.close()
