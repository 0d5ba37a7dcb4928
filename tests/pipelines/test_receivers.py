"""Whom the stages of a pipeline tell: read from its file alone, however they are chained."""

from __future__ import annotations

import pytest

from tuner.errors import InvalidInput
from tuner.pipelines.load import stage_receivers

PIPE = """\
pipeline: pipe
jobs:
  - name: grid
    spec: capitals.yaml
    matrix:
      list:
        - {hyperparameters.epoch_count: 1}
        - {hyperparameters.epoch_count: 2, notify: [{command: second}]}
    keep: best
  - name: further
    after: grid
    job: further
    training_data: {path: rows.csv}
    notify: [{command: third}]
"""


@pytest.fixture
def pipe(spec):
    spec.write_text(f"{spec.read_text()}notify: [{{command: first}}]\n")
    path = spec.parent / "pipe.yaml"
    path.write_text(PIPE)
    return path


def commands(found):
    return {name: [each.command for each in told] for name, told in found.items()}


def test_each_stage_tells_those_whom_its_spec_and_the_pipeline_name_for_it(pipe):
    (pipe.parent / "rows.csv").unlink()

    told = commands(stage_receivers(pipe))

    assert list(told.values()) == [["first"], ["second"], ["third"]]
    assert list(told)[0::2] == ["grid[epoch_count=1]", "further"]
    changed = commands(stage_receivers(pipe, ("jobs.1.notify.0.command=other",)))
    assert changed["further"] == ["other"]


@pytest.mark.parametrize("wrong", ["capitals.yaml", "pipe.yaml"])
def test_of_a_pipeline_that_is_wrong_at_present_nobody_is_known(pipe, wrong):
    path = pipe.parent / wrong
    path.write_text(path.read_text() + "color: red\n")

    with pytest.raises(InvalidInput, match="color"):
        stage_receivers(pipe)
