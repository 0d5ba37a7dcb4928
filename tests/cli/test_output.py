"""Output of commands: tables, JSON, JSON lines or YAML, and progress on a terminal."""

from __future__ import annotations

import json
import sys

import pytest
import yaml

from tuner.cli.options import TARGETS
from tuner.cli.output import MANY_ROWS, busy, cell, show
from tuner.targets import TARGETS as TABLE

ROWS = [
    {"name": "b", "steps": 10, "loss": None, "who": ["ana", "ben"]},
    {"name": "a longer name", "steps": 2, "loss": 0.5, "who": []},
]


def test_a_table_in_a_pipe_is_aligned_without_lines(capsys):
    show(ROWS, "table")

    assert capsys.readouterr().out.splitlines() == [
        "name           steps  loss  who",
        "b              10           ana, ben",
        "a longer name  2      0.5",
    ]


def test_a_single_record_is_one_key_per_line(capsys):
    show({"name": "b", "top_k": 3}, "table")

    assert capsys.readouterr().out == "name:   b\ntop_k:  3\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_rows_print_nothing(capsys, monkeypatch, is_terminal):
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)

    show([], "table")

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("data", [ROWS, [], ROWS[0]])
def test_json_and_yaml_have_the_same_data(capsys, data):
    show(data, "json")
    assert json.loads(capsys.readouterr().out) == data

    show(data, "yaml")
    assert yaml.safe_load(capsys.readouterr().out) == data


def test_json_lines_have_one_row_per_line(capsys):
    show(ROWS, "jsonl")

    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS


def test_control_characters_are_removed():
    assert cell("\x1b[31mred\nline\u202e") == " [31mred line "


def test_the_option_has_exactly_the_known_targets():
    assert tuple(TABLE) == TARGETS


@pytest.mark.parametrize(
    ("rows", "is_terminal", "is_shown"),
    [(MANY_ROWS, True, True), (MANY_ROWS - 1, True, False), (MANY_ROWS, False, False)],
)
def test_long_work_is_announced_on_a_terminal(rows, is_terminal, is_shown, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)

    with busy("comparing", rows):
        pass

    assert (f"comparing: {rows:,} rows" in capsys.readouterr().err) is is_shown
