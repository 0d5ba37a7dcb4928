"""README.md: every block prints what the page shows, with the real model."""

from __future__ import annotations

import pytest

from tests.docs.blocks import ROOT, blocks, broken_links, check, stop_service
from tests.fakes.models import lend
from tuner.jobspec.prepared_job import prepare_job

README = ROOT / "README.md"


@pytest.fixture
def home(tmp_path):
    yield lend(tmp_path)
    stop_service(tmp_path)


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(1200)
def test_every_block_prints_what_the_page_shows(home):
    check(README, home)


def test_every_spec_is_valid(tmp_path):
    specs = [block.text for block in blocks(README) if block.kind == "yaml"]
    for number, text in enumerate(specs):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text.replace("datasets/", f"{ROOT}/datasets/"))
        prepare_job(path)
    assert specs


def test_it_is_short_and_starts_with_make_demo():
    lines = README.read_text().splitlines()

    assert len(lines) <= 150
    assert any(line == "make demo" for line in lines[:15])


def test_no_link_is_broken():
    assert broken_links(README) == []
