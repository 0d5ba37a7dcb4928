"""A score has three decimals wherever a person reads it."""

from __future__ import annotations

import json
import re

import pytest

from tests.fakes.one_target import OneTarget
from tests.fakes.pipelines import PipelineTarget
from tuner.__main__ import run as tuner
from tuner.formatting import format_floats, format_number

PIPE = """\
pipeline: pipe
jobs:
  - name: grid
    spec: capitals.yaml
    set: {evaluation.require.better_than_base: false, evaluation.require.at_least: 0.05}
    matrix: {hyperparameters.learning_rate: [1e-3, 2e-3]}
    keep: best
"""


def test_a_figure_has_three_decimals_and_no_sign_for_nothing():
    assert [format_number(each) for each in (1 / 12, 1, -0.25, -1e-9)] == [
        "0.083",
        "1.000",
        "-0.250",
        "0.000",
    ]


def test_of_a_row_its_fractions_are_figures_and_all_else_is_as_it_was():
    row = {"job": "a", "tuned": 2 / 3, "rows": 12, "kept": True, "base": None}

    assert format_floats(row) == row | {"tuned": "0.667"}


@pytest.mark.slow
def test_every_command_shows_the_same_score_in_the_same_figures(spec, capsys):
    OneTarget.target = PipelineTarget({0.001: 2, 0.002: 0})
    pipe = str(spec.parent / "pipe.yaml")
    (spec.parent / "pipe.yaml").write_text(PIPE)
    best, other = "grid[learning_rate=0.001]", "grid[learning_rate=0.002]"
    tuner(["-q", "run", pipe])
    capsys.readouterr()

    commands = (
        *(["run", pipe], ["plan", pipe], ["status", pipe], ["status"], ["eval", best]),
        *(["compare", best, other], ["pipeline", "graph", pipe], ["logs", "-o", "table"]),
    )
    for command in commands:
        assert tuner(command) in (0, 3)
        told = capsys.readouterr()
        scores = re.findall(r"(?<![\w.=])-?0\.\d+", told.out + told.err)
        assert "0.083" in scores or command[0] == "plan", command
        assert {score for score in scores if not re.fullmatch(r"-?0\.\d{3}", score)} <= {"0.05"}

    assert tuner(["status", "-o", "json"]) == 0
    assert {row["tuned"] for row in json.loads(capsys.readouterr().out)} == {1 / 12, 0.0}
