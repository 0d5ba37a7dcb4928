"""docs/pipelines.md: its pipelines are valid, its commands run, and its tables match the code."""

from __future__ import annotations

import shutil

import pytest

from tests.docs.blocks import ROOT, blocks, check
from tuner.pipelines.entries import pipeline_tables
from tuner.pipelines.load import load_pipeline

PAGE = ROOT / "docs/pipelines.md"


@pytest.fixture
def clone(tmp_path):
    for name in ("datasets", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.slow
def test_every_block_prints_what_the_page_shows(clone):
    check(PAGE, clone / "home", clone)


def test_every_pipeline_on_the_page_is_valid(clone):
    texts = [block.text for block in blocks(PAGE) if block.kind == "yaml"]
    for number, text in enumerate(texts):
        path = clone / "configs" / f"{number}.yaml"
        path.write_text(text)
        assert load_pipeline(path).stages
    assert texts


def test_the_tables_are_up_to_date():
    assert pipeline_tables() in PAGE.read_text(), "run: tuner schema --pipeline --markdown"
