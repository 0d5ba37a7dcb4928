"""Results as a table, JSON, JSON lines or YAML."""

from __future__ import annotations

import json

import pytest
import yaml

from tuner.cli.options import OUTPUTS, TARGETS
from tuner.cli.output import cell, show
from tuner.targets import TARGETS as TABLE

ROWS = [
    {"name": "b", "steps": 10, "loss": None, "who": ["ana", "ben"]},
    {"name": "a longer name", "steps": 2, "loss": 0.5, "who": []},
]


def test_a_table_in_a_pipe_is_aligned_and_undrawn(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, "table")

    assert capsys.readouterr().out.splitlines() == [
        "name           steps  loss  who",
        "b              10           ana, ben",
        "a longer name  2      0.5",
    ]


def test_one_thing_goes_down_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    show({"name": "b", "top_k": 3}, "table")

    assert capsys.readouterr().out == "name:   b\ntop_k:  3\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_rows_are_no_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)

    show([], "table")

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("data", [ROWS, [], ROWS[0]])
def test_json_and_yaml_hold_the_same_data(
    capsys: pytest.CaptureFixture[str], data: list[dict[str, object]]
) -> None:
    show(data, "json")
    assert json.loads(capsys.readouterr().out) == data

    show(data, "yaml")
    assert yaml.safe_load(capsys.readouterr().out) == data


def test_json_lines_are_a_row_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, "jsonl")

    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS


def test_other_peoples_control_characters_stay_inert() -> None:
    assert cell("\x1b[31mred\nline\u202e") == " [31mred line "


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_of_the_option_can_be_shown(
    capsys: pytest.CaptureFixture[str], output: str
) -> None:
    show(ROWS, output)

    assert "a longer name" in capsys.readouterr().out


def test_the_option_offers_exactly_the_targets_there_are() -> None:
    assert tuple(TABLE) == TARGETS
