"""docs/evaluation.md: its specs are valid, and its metrics and options exist."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.docs.blocks import ROOT, blocks
from tuner.__main__ import run as tuner
from tuner.jobspec.load import read_partial_spec
from tuner.jobspec.rules import METRICS

PAGE = ROOT / "docs/evaluation.md"


def of_kind(kind):
    return [block.text for block in blocks(PAGE) if block.kind == kind]


@pytest.mark.parametrize("text", of_kind("yaml"))
def test_every_evaluation_on_the_page_is_valid(tmp_path, text):
    path = tmp_path / "job.yaml"
    data = "job: j\nbase_model: models/m\ntraining_data: {path: rows.csv}\n"
    path.write_text(data + text)

    assert read_partial_spec(path).problems == ()
    assert read_partial_spec(path).spec.evaluation.metric.kind in METRICS
    assert yaml.safe_load(text)


def test_the_table_has_every_metric_in_order():
    assert re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE) == list(METRICS)


def test_the_custom_metric_of_the_page_works(tmp_path, spec, capsys):
    (code,) = of_kind("python")
    (tmp_path / "grading.py").write_text(code)
    spec.write_text(
        spec.read_text().replace("holdout: 0.3", "holdout: 0.3, metric: grading:mostly")
    )

    assert tuner(["run", str(spec)]) == 0
    assert "grading:mostly" in capsys.readouterr().out


@pytest.mark.usefixtures("spec")
def test_the_options_on_the_page_exist(capsys):
    (text,) = of_kind("console")
    for line in text.splitlines():
        words = line.removeprefix("$ tuner ").partition("#")[0].split()
        options = [word for word in words if word.startswith("--")]
        tuner([words[0], "--help"])
        shown = capsys.readouterr().out
        assert all(option in shown for option in options)
