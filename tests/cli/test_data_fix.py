"""tuner data fix: it says what it does, asks on a terminal, and never touches the original."""

from __future__ import annotations

import json

import pytest

from tuner.__main__ import run as tuner

ROWS = "text_input,output,note\na\x07,x,1\nb,,2\nc,x,3\nc,x,4\n" + "".join(
    f"t{n},x,{n}\n" for n in range(30)
)
FIXED = ROWS.replace("a\x07", "a").replace("b,,2\n", "").replace("c,x,4\n", "")


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS, newline="")
    return path


def names(rows):
    return sorted(path.name for path in rows.parent.iterdir())


def on_a_terminal(monkeypatch, answer):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: answer)


def test_without_to_it_only_says_what_it_would_do(rows, capsys):
    assert tuner(["data", "fix", str(rows)]) == 0

    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "line  rule               before  after",
        "2     control-character  a\\x07   a",
        "3     empty-output       b,,2    (dropped)",
        "5     duplicate          c,x,4   (dropped)",
    ]
    assert said.err == (
        "34 rows: 1 repaired, 2 dropped, 0 with errors left; nothing is written without --to\n"
    )
    assert names(rows) == ["rows.csv"]


def test_the_copy_is_written_and_the_checks_are_content_with_it(rows, capsys):
    to = rows.with_name("out.csv")

    assert tuner(["data", "fix", str(rows), "--to", str(to), "--json"]) == 0

    said = capsys.readouterr()
    assert json.loads(said.out)[1] == {
        "line": 3,
        "rule": "empty-output",
        "before": "b,,2",
        "after": "(dropped)",
    }
    assert f"wrote {to}" in said.err
    assert to.read_text() == FIXED
    assert rows.read_text() == ROWS
    assert tuner(["data", "check", str(to), "--ignore", "imbalance"]) == 0


def test_a_dry_run_writes_nothing_even_with_to(rows, capsys):
    assert tuner(["data", "fix", str(rows), "--to", str(rows.with_name("o.csv")), "--dry-run"]) == 0
    assert "nothing is written" in capsys.readouterr().err
    assert names(rows) == ["rows.csv"]


@pytest.mark.parametrize(
    ("answer", "options", "written"),
    [("y", [], True), ("n", [], False), ("n", ["-y"], True)],
)
def test_on_a_terminal_it_asks(rows, monkeypatch, answer, options, written):
    on_a_terminal(monkeypatch, answer)

    code = tuner(["data", "fix", str(rows), "--to", str(rows.with_name("o.csv")), *options])

    assert (code == 0) is written
    assert names(rows) == (["o.csv", "rows.csv"] if written else ["rows.csv"])


def test_neither_the_original_nor_a_file_that_is_there_is_written_over(rows, capsys):
    other = rows.with_name("other.csv")
    other.write_text("mine")

    assert tuner(["data", "fix", str(rows), "--to", str(rows), "--force"]) == 2
    assert "never written over" in capsys.readouterr().err
    assert tuner(["data", "fix", str(rows), "--to", str(other)]) == 2
    assert other.read_text() == "mine"
    assert rows.read_text() == ROWS

    assert tuner(["data", "fix", str(rows), "--to", str(other), "--force"]) == 0
    assert other.read_text() == FIXED


def test_what_stays_wrong_is_listed_and_is_code_2(rows, capsys):
    rows.write_text(ROWS + "short\n")
    to = rows.with_name("out.csv")

    assert tuner(["data", "fix", str(rows), "--to", str(to)]) == 2
    said = capsys.readouterr()
    assert f"{rows}:36:" in said.err
    assert "1 with errors left" in said.err
    assert "--drop-bad drops" in said.err
    assert to.read_text() == FIXED + "short\n"

    assert tuner(["data", "fix", str(rows), "--to", str(to), "--drop-bad", "--force"]) == 0
    assert to.read_text() == FIXED
    assert "--drop-bad drops" not in capsys.readouterr().err


def test_other_formats_are_sent_to_convert(rows, capsys):
    path = rows.with_name("rows.json")
    path.write_text('[{"text_input": "a", "output": "b"}]')

    assert tuner(["data", "fix", str(path)]) == 2
    assert f"`tuner data convert {path} --to" in capsys.readouterr().err


def test_one_file_is_mended_at_a_time(rows, capsys):
    other = rows.with_name("other.csv")
    other.write_text(ROWS)

    assert tuner(["data", "fix", str(rows), str(other)]) == 2
    assert "fix one at a time" in capsys.readouterr().err


def test_a_spec_says_which_file_and_columns(rows):
    rows.write_text(ROWS.replace("text_input,output", "q,a", 1))
    spec = rows.with_name("spec.yaml")
    spec.write_text(
        "job: x\nbase_model: models/m\ntraining_data: {path: rows.csv, text_input: q, output: a}\n"
    )
    to = rows.with_name("out.csv")

    assert tuner(["data", "fix", str(spec), "--to", str(to)]) == 0
    assert to.read_text() == FIXED.replace("text_input,output", "q,a", 1)
