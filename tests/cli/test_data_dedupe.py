"""tuner data dedupe: what goes is named with what it repeats."""

from __future__ import annotations

import json

import pytest

from tuner.__main__ import run as tuner

LONG = "the parcel came two days late and the box was badly dented on one of its corners {}"
ROWS = ["a,x", "b,x", "a,x", "A ,X", "a,y", f"{LONG.format('today')},x", f"{LONG.format('now')},x"]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["text_input,output", *ROWS, ""]))
    return path


@pytest.mark.parametrize(
    ("options", "dropped"),
    [
        ([], {(4, 2): "duplicate"}),
        (["--ignore-case"], {(4, 2): "duplicate", (2, 5): "similar-case"}),
        (
            ["--near"],
            {(4, 2): "duplicate", (2, 5): "near-duplicate", (7, 8): "near-duplicate"},
        ),
        (["--near", "0.99"], {(4, 2): "duplicate", (2, 5): "near-duplicate"}),
    ],
)
def test_each_row_that_goes_is_named_with_the_one_it_repeats(rows, capsys, options, dropped):
    to = rows.with_name("out.csv")

    assert tuner(["data", "dedupe", str(rows), "--to", str(to), "--json", *options]) == 0

    said = capsys.readouterr()
    found = {
        frozenset((each["line"], each["repeats_line"])): each["rule"]
        for each in json.loads(said.out)
    }
    assert found == {frozenset(lines): rule for lines, rule in dropped.items()}
    gone = {each["line"] for each in json.loads(said.out)}
    assert to.read_text().replace(chr(34), "").splitlines()[1:] == [
        row for line, row in enumerate(ROWS, 2) if line not in gone
    ]
    assert f"{len(dropped)} of 7 rows are duplicates; wrote {to}" in said.err


def test_without_to_it_only_says_what_it_would_do(rows, capsys):
    assert tuner(["data", "dedupe", str(rows)]) == 0

    said = capsys.readouterr()
    assert "nothing is written without --to" in said.err
    assert said.out.splitlines()[1].split()[:3] == ["4", "2", "duplicate"]
    assert [path.name for path in rows.parent.iterdir()] == ["rows.csv"]


def test_what_is_read_is_never_written_over(rows, capsys):
    assert tuner(["data", "dedupe", str(rows), "--to", str(rows), "--force"]) == 2
    assert "never written over" in capsys.readouterr().err


def test_a_similarity_that_is_not_looked_for_is_refused(rows, capsys):
    assert tuner(["data", "dedupe", str(rows), "--near", "0.5"]) == 2
    assert "--near" in capsys.readouterr().err
