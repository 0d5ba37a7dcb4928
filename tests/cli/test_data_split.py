"""tuner data split: two files, and every row in one of them."""

from __future__ import annotations

import json

import pytest

from tuner.__main__ import run as tuner
from tuner.cli.data_export import FORMATS
from tuner.data.dataset import Source, read_rows
from tuner.data.export import WRITERS
from tuner.data.record_formats import RECORD_FORMATS
from tuner.jobspec.prepared_job import prepare_job

ROWS = [(f"question {n}", "often" if n % 5 else "rare") for n in range(100)]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["q,id,a", *(f"{q},7,{a}" for q, a in ROWS), ""]))
    return path


def read(path, **how):
    return [tuple(row[:2]) for row in read_rows(Source((path,), **how))]


def split(rows, *options):
    to = ["--train", str(rows.with_name("train.csv")), "--held", str(rows.with_name("held.jsonl"))]
    return tuner(
        ["data", "split", str(rows), "--text-input", "q", "--output-column", "a", *to, *options]
    )


def test_every_row_is_in_one_of_the_two_files_with_its_columns(rows, capsys):
    assert split(rows, "--holdout", "0.2", "--stratify", "--json") == 0

    train = rows.with_name("train.csv").read_text().splitlines()
    held = [json.loads(line) for line in rows.with_name("held.jsonl").read_text().splitlines()]
    assert train[0] == "q,a"
    assert sorted(train[1:] + [f"{row['q']},{row['a']}" for row in held]) == sorted(
        f"{q},{a}" for q, a in ROWS
    )
    assert [row["a"] for row in held].count("rare") == 4
    assert [each["rows"] for each in json.loads(capsys.readouterr().out)] == [80, 20]


def test_the_share_and_the_sides_of_a_spec_are_those_of_its_job(rows):
    spec = rows.with_name("spec.yaml")
    spec.write_text(
        "job: x\nbase_model: models/m\ntraining_data: {path: rows.csv, text_input: q, output: a}\n"
        "evaluation: {holdout: 0.3, stratify: true}\n"
    )
    assert tuner(["data", "split", str(spec), "--train", str(rows.with_name("t.csv")),
                  "--held", str(rows.with_name("h.csv"))]) == 0  # fmt: skip

    held = rows.with_name("h.csv").read_text().splitlines()[1:]
    assert held == [f"{row.text_input},{row.output}" for row in prepare_job(spec).holdout]


@pytest.mark.parametrize("taken", ["train.csv", "held.jsonl"])
def test_a_file_that_is_there_stays_and_nothing_is_written_beside_it(rows, capsys, taken):
    rows.with_name(taken).write_text("mine")

    assert split(rows) == 2
    assert "is already there" in capsys.readouterr().err
    assert rows.with_name(taken).read_text() == "mine"
    assert len(list(rows.parent.iterdir())) == 2

    assert split(rows, "--force") == 0
    assert rows.with_name(taken).read_text() != "mine"


def test_what_is_read_is_never_written_over(rows, capsys):
    before = rows.read_text()

    assert split(rows, "--force", "--train", str(rows)) == 2
    assert "never written over" in capsys.readouterr().err
    assert rows.read_text() == before


def test_two_sides_need_two_files(rows, capsys):
    assert split(rows, "--train", str(rows.with_name("held.jsonl"))) == 2
    assert "are the same file" in capsys.readouterr().err


def test_rows_that_cannot_be_read_stop_it_unless_they_are_to_be_left_out(rows, capsys):
    rows.write_text(rows.read_text() + "one cell\n")

    assert split(rows) == 2
    assert "rows.csv:102" in capsys.readouterr().err
    assert len(list(rows.parent.iterdir())) == 1

    assert split(rows, "--drop-bad") == 0
    assert "rows.csv:102" in capsys.readouterr().err


def test_the_formats_on_offer_are_those_of_the_tables():
    assert set(FORMATS) == {"auto", *WRITERS, *RECORD_FORMATS}
