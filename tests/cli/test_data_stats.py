from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tests.engine.places import tiny
from tuner.cli import cli
from tuner.data.holdout import split
from tuner.types import Example

SPEC = """
job: a
base_model: models/none
training_data: {path: rows.csv}
evaluation: {holdout: 0.4, stratify: true}
"""


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "home"))
    path = tmp_path / "rows.csv"
    lines = [f"question {n},{'yes' if n % 4 else 'no'}\n" for n in range(40)]
    path.write_text("text_input,output\n" + "".join(lines))
    return path


def ask(*arguments):
    done = CliRunner().invoke(cli, ["data", "stats", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_the_table_shows_lengths_and_labels(rows):
    said = ask(rows, "--model", tiny()).stdout

    assert "rows                  40" in said
    assert "no        10  25.0%  ████████\n" in said
    assert "prompt tokens" in said
    assert "takes 2,048 per example" in said


def test_for_programs_every_figure_is_there(rows):
    found = json.loads(ask(rows, "-o", "json").stdout)

    assert found["rows"] == 40
    assert found["text_input"]["max"] == 11
    assert found["labels"] == [{"output": "yes", "rows": 30}, {"output": "no", "rows": 10}]
    assert found["tokenizer"] is None


def test_a_spec_says_how_many_are_held_out(rows):
    spec = rows.with_name("a.yaml")
    spec.write_text(SPEC)
    examples = [Example(f"question {n}", "yes" if n % 4 else "no") for n in range(40)]
    alike, by_chance = (len(split(examples, 0.4, stratify=each)[1]) for each in (True, False))

    assert json.loads(ask(spec, "--json").stdout)["held_out"] == alike != by_chance


def test_the_page_is_written_once_and_never_over_an_input(rows):
    page = rows.with_name("page.html")
    ask(rows, "--html", page)

    assert page.read_text("utf-8").startswith("<!doctype html>")
    for file, force in ((page, ()), (rows, ("--force",))):
        with pytest.raises(Exception, match=r"already there|never written over"):
            ask(rows, "--html", file, *force)
    ask(rows, "--html", page, "--force")


def test_rows_that_cannot_be_read_are_left_out_and_said(rows):
    rows.write_text(rows.read_text() + "one,two,three\n")
    done = ask(rows)

    assert "unreadable             1" in done.stdout
    assert "tuner data check" in done.stderr


def test_a_row_with_two_faults_is_one_that_cannot_be_read(rows):
    rows = rows.with_suffix(".jsonl")
    good = json.dumps({"text_input": "a", "output": "b"})
    rows.write_text(f'{good}\n{{"q": 1}}\n{good}\n')

    done = ask(rows)

    assert "1 unreadable rows;" in done.stderr
    assert "unreadable             1   33.3%" in done.stdout


def test_what_all_rows_lack_is_said_of_the_first(rows):
    rows = rows.with_suffix(".jsonl")
    rows.write_text('{"text_input": "a", "answer": "b"}\n' * 9)

    said = str(CliRunner().invoke(cli, ["data", "stats", str(rows)]).exception)

    assert said.count("there is no key 'output'") == 2
    assert "7 more like the 2 above (no-key)" in said
