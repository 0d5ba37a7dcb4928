"""docs/data.md: every block runs, and the tables match the code."""

from __future__ import annotations

import shutil

import pytest
from click.testing import CliRunner

from tests.docs.blocks import ROOT, check, stop_service
from tests.fakes.models import lend
from tuner.cli.data_check import rules
from tuner.cli.data_commands import COMMANDS
from tuner.data.dataset import READERS
from tuner.data.record_formats import RECORD_FORMATS

PAGE = ROOT / "docs/data.md"


@pytest.fixture
def clone(tmp_path):
    for name in ("datasets", "configs"):
        shutil.copytree(ROOT / name, tmp_path / "clone" / name)
    return tmp_path / "clone"


@pytest.fixture
def home(tmp_path):
    yield lend(tmp_path / "home")
    stop_service(tmp_path / "home")


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(1200)
def test_every_block_prints_what_the_page_shows(clone, home):
    check(PAGE, home, clone)


def test_the_table_of_rules_is_up_to_date():
    table = CliRunner().invoke(rules, ["--markdown"]).stdout

    assert table in PAGE.read_text(), (
        "replace the table by the output of `tuner data rules --markdown`"
    )


def test_every_format_and_command_is_named():
    page = PAGE.read_text()

    assert [name for name in (*READERS, *RECORD_FORMATS) if f"`{name}`" not in page] == []
    assert [name for name in COMMANDS if f"tuner data {name}" not in page] == []
