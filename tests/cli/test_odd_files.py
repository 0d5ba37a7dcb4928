"""Files whose names, links or contents nobody expects: refused in words, and nothing is lost."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tuner.__main__ import run

ROWS = "text_input,output\n" + "".join(f"question {n},answer {n}\n" for n in range(30))
ENDS = ("csv", "jsonl", "json", "tsv")
KEY = "sk-" + "aB3dE5gH7j" * 5
NO_UTF8 = os.fsdecode(b"caf\xe9.csv")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text(ROWS)
    return tmp_path


def test_links_in_a_circle_are_a_file_that_cannot_be_read(capsys):
    Path("one.csv").symlink_to("two.csv")
    Path("two.csv").symlink_to("one.csv")

    assert run(["data", "check", "one.csv"]) == 2
    assert "one.csv: cannot be read" in capsys.readouterr().out


def test_a_name_that_is_not_utf8_is_named_byte_by_byte_in_sarif(capsys):
    Path(NO_UTF8).write_text("text_input,output\n,no\n")

    assert run(["data", "check", NO_UTF8, "-o", "sarif"]) == 2
    (log,) = json.loads(capsys.readouterr().out)["runs"]
    place = log["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "caf%E9.csv"


def test_a_spec_that_cannot_name_its_file_is_not_begun(here, capsys):
    Path(NO_UTF8).write_text(ROWS)

    assert run(["init", NO_UTF8]) == 2
    assert "not valid UTF-8" in capsys.readouterr().err
    assert sorted(here.iterdir()) == sorted([here / NO_UTF8, here / "rows.csv"])


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028"])
def test_a_line_end_in_a_name_adds_no_key_to_a_spec(end):
    name = f"a{end}target: gemini #.csv"
    Path(name).write_text(ROWS)

    assert run(["init", name]) == 0
    assert run(["validate", "job.yaml"]) == 0


def test_a_pattern_is_no_file_that_a_spec_could_be_written_over():
    assert run(["init", "*.csv"]) == 0
    assert run(["init", "*.csv", "--force"]) == 0
    assert run(["init", "*.csv", "--force", "--to", "rows.csv"]) == 2
    assert Path("rows.csv").read_text() == ROWS


@pytest.mark.parametrize("other", ["sub/../side.csv", "link/side.csv"])
def test_two_names_of_one_file_are_not_two_sides(here, other, capsys):
    Path("sub").mkdir()
    Path("link").symlink_to(here)

    assert run(["data", "split", "rows.csv", "--train", "side.csv", "--held", other]) == 2
    assert "are the same file" in capsys.readouterr().err
    assert not Path("side.csv").exists()


def test_of_a_disk_that_fills_up_nothing_is_left(here, capsys, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # half of a module would stay behind
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        codes = [run(["data", "convert", "rows.csv", "--to", f"copy.{end}"]) for end in ENDS]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert codes == [2] * len(ENDS)
    assert capsys.readouterr().err.count("cannot be written") == len(ENDS)
    assert list(here.iterdir()) == [here / "rows.csv"]


@pytest.mark.parametrize(
    "content",
    [
        f"{KEY},yes\nwhat,no\n",
        json.dumps({KEY: "x", "output": "y"}),
        json.dumps({"messages": [], KEY: "x"}).replace("messages", "contents"),
        json.dumps({"messages": [{"role": KEY, "content": "x"}]}),
        json.dumps({"messages": [{"role": "user", "content": [{"type": KEY}]}]}),
    ],
)
def test_a_key_that_stands_where_a_name_should_is_not_shown_whole(content, capsys):
    Path("odd.txt").write_text(content)

    assert run(["data", "check", "odd.txt", "-o", "json"]) == 2
    assert KEY not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["klingon", "rot13", "idna", "undefined", "punycode", ""])
def test_an_encoding_that_nothing_can_be_read_in_is_refused(name, capsys):
    assert run(["data", "check", "rows.csv", "--encoding", name]) == 2
    assert f"{name!r} is not a text encoding" in capsys.readouterr().err
