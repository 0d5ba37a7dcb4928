"""pipeline validate and graph: what a file says, for people and for programs; no service is asked."""

from __future__ import annotations

import json

import pytest

from tests.fakes.one_target import OneTarget
from tuner.__main__ import run as tuner

GRID = """\
pipeline: night
jobs:
  - name: grid
    spec: capitals.yaml
    matrix: {hyperparameters.batch_size: [4, 8]}
    keep: best
  - job: polish
    after: grid
    training_data: {path: rows.csv}
"""


@pytest.fixture
def night(spec):
    path = spec.with_name("night.yaml")
    path.write_text(GRID)
    return path


def test_validate_prints_a_line_a_stage(night, capsys):
    assert tuner(["pipeline", "validate", str(night), "-o", "json"]) == 0

    first, _, last = json.loads(capsys.readouterr().out)
    assert first["stage"] == "grid[batch_size=4]"
    assert first["model"] == "models/tiny"
    assert first["tuned_model"].startswith("tunedModels/capitals-")
    assert (last["after"], last["model"], last["tuned_model"]) == (["grid"], "jobs/grid", "")


def test_validate_tells_a_mistake_with_its_place_and_is_code_2(night, capsys):
    night.write_text(GRID.replace("after: grid", "after: gird"))

    assert tuner(["pipeline", "validate", str(night)]) == 2
    assert f"{night}:8:12: there is no job 'gird' in this pipeline" in capsys.readouterr().err


def test_a_warning_is_told_once_and_counts_when_strict(night, spec, capsys):
    spec.write_text(spec.read_text().replace("base_instruction: Answer., ", ""))

    assert tuner(["pipeline", "validate", str(night)]) == 0
    assert capsys.readouterr().err.count("has no instruction") == 1
    assert tuner(["pipeline", "validate", "--strict", str(night)]) == 2


def test_set_reaches_the_pipeline(night, capsys):
    setting = "jobs.0.matrix={top_p: [0.5], hyperparameters.epoch_count: [1, 2, 3]}"
    tuner(["pipeline", "validate", str(night), "--set", setting, "-o", "json"])

    stages = [row["stage"] for row in json.loads(capsys.readouterr().out)]
    assert stages[:2] == ["grid[top_p=0.5 epoch_count=1]", "grid[top_p=0.5 epoch_count=2]"]
    assert len(stages) == 4


def test_a_graph_is_drawn_before_anything_was_begun(night, capsys):
    assert tuner(["pipeline", "graph", str(night)]) == 0

    assert (
        capsys.readouterr().out
        == """\
grid  2 variants, the best by exact_match is shared, the others are kept
|-- grid[batch_size=4]
|-- grid[batch_size=8]
`-> polish  tuned from the best of grid
"""
    )


@pytest.mark.slow
def test_a_graph_shows_how_far_each_stage_came(night, capsys):
    OneTarget.target.answers = {}
    tuner(["run", str(night)])
    capsys.readouterr()

    assert tuner(["pipeline", "graph", str(night)]) == 0
    assert (
        capsys.readouterr().out
        == """\
grid  2 variants, the best by exact_match is shared, the others are kept
|-- grid[batch_size=4]  REJECTED  0.000
|-- grid[batch_size=8]  REJECTED  0.000
`-> polish              SKIPPED   tuned from the best of grid
"""
    )


@pytest.mark.parametrize(("form", "start"), [("mermaid", "flowchart"), ("dot", "digraph")])
def test_a_graph_is_printed_for_other_programs(night, capsys, form, start):
    assert tuner(["pipeline", "graph", str(night), "-o", form]) == 0

    assert capsys.readouterr().out.startswith(start)
    assert OneTarget.target.calls == []


@pytest.mark.parametrize("command", ["validate", "graph"])
def test_what_is_no_pipeline_is_one_line_and_code_2(spec, capsys, command):
    assert tuner(["pipeline", command, str(spec)]) == 2

    assert capsys.readouterr().err == (
        f"error: {spec}: this is the spec of one job, not a pipeline\n"
        f"  fix: `tuner validate {spec}` checks it; a pipeline names jobs, below jobs:\n"
    )


def test_a_pipeline_whose_keys_are_misspelt_is_told_each_of_them(spec, capsys):
    path = spec.parent / "pipe.yaml"
    path.write_text("pipeline: pipe\njobs: [capitals.yaml]\njob: capitals\n")

    assert tuner(["pipeline", "graph", str(path)]) == 2

    assert "there is no key 'job'" in capsys.readouterr().err
