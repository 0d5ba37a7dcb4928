"""tuner data convert: from every format to every other."""

import json

import pytest

from tuner.__main__ import run as tuner
from tuner.data.dataset import Source, read_rows


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('text_input,output\nNA,007\n" a\n",b\n')
    return path


def test_examples_of_several_files_go_into_one_and_are_counted(rows, capsys):
    more = rows.with_name("more.jsonl")
    more.write_text('{"prompt": "p", "completion": "c"}\n')

    assert (
        tuner(
            [
                "data",
                "convert",
                str(rows),
                str(more),
                "--to",
                str(rows.with_name("x.json")),
                "--json",
            ]
        )
        == 0
    )

    assert [(each["rows"], each["left_out"]) for each in json.loads(capsys.readouterr().out)] == [
        (2, 0), (1, 0),
    ]  # fmt: skip
    assert [row[:2] for row in read_rows(Source((rows.with_name("x.json"),)))] == [
        ("NA", "007"), (" a\n", "b"), ("p", "c"),
    ]  # fmt: skip


def test_a_shape_and_a_system_text_may_be_asked_for(rows):
    to = rows.with_name("x.jsonl")

    assert (
        tuner(
            [
                "data",
                "convert",
                str(rows),
                "--to",
                str(to),
                "--to-format",
                "openai",
                "--system",
                "S",
            ]
        )
        == 0
    )

    first = json.loads(to.read_text().splitlines()[0])
    assert [(each["role"], each["content"]) for each in first["messages"]] == [
        ("system", "S"), ("user", "NA"), ("assistant", "007"),
    ]  # fmt: skip


def test_rows_that_cannot_be_read_stop_it_unless_they_are_to_be_left_out(rows, capsys):
    rows.write_text(rows.read_text() + "surplus,cells,here\nlast,row\n")
    to = rows.with_name("x.jsonl")
    command = ["data", "convert", str(rows), "--to", str(to)]

    assert tuner(command) == 2
    assert not to.exists()
    said = capsys.readouterr().err
    assert f"{rows}:5" in said
    assert "nothing is written: there are unreadable rows; --drop-bad drops them" in said

    assert tuner([*command, "--drop-bad"]) == 0
    assert len(to.read_text().splitlines()) == 3
    said = capsys.readouterr()
    assert f"{rows}:5" in said.err
    assert said.out.split()[-3:] == ["3", "1", str(to)]


def test_a_row_with_two_faults_is_left_out_once(rows, capsys):
    bad = rows.with_name("bad.jsonl")
    bad.write_text('{"prompt": 1, "completion": 2}\n{"prompt": "p", "completion": "c"}\n')

    assert tuner(f"data convert {bad} --to {bad}.csv --drop-bad --json".split()) == 0

    assert [each["left_out"] for each in json.loads(capsys.readouterr().out)] == [1]


def test_an_input_is_not_written_over_and_nothing_is_no_result(rows, capsys):
    assert tuner(["data", "convert", str(rows), "--to", str(rows), "--force"]) == 2
    assert "never written over" in capsys.readouterr().err

    empty = rows.with_name("empty.jsonl")
    empty.write_text("")
    assert tuner(["data", "convert", str(empty), "--to", str(rows.with_name("y.csv"))]) == 2
    assert "there are no examples" in capsys.readouterr().err
    assert not rows.with_name("y.csv").exists()
