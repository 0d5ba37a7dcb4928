"""docs/plan.md and docs/python.md: their blocks run, and their tables match the code."""

from __future__ import annotations

import inspect
import re
import shutil

import pytest

import tuner
from tests.docs.blocks import ROOT, check, stop_service
from tests.fakes.work import WORK
from tuner.pipelines.plan import Action, PlanItem, exit_code

PLAN, PYTHON = ROOT / "docs/plan.md", ROOT / "docs/python.md"


@pytest.mark.slow
@pytest.mark.parametrize("page", [PLAN, PYTHON], ids=lambda page: page.name)
def test_every_block_prints_what_the_page_shows(tmp_path, page):
    for name in ("datasets", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    home = tmp_path / "home"
    try:
        check(page, home, tmp_path)
    finally:
        stop_service(home)


def test_every_action_is_on_the_page_with_its_exit_codes():
    rows = re.findall(r"^\| ([a-z ]+) \| .* \| (\d) \| (\d) \|$", PLAN.read_text(), re.MULTILINE)
    shown = [each for each in Action if each is not Action.UNKNOWN]
    items = [PlanItem("a", WORK.spec.path, WORK, "", None, action) for action in shown]

    assert rows == [
        (
            item.action.value,
            str(exit_code([item], is_detailed=False)),
            str(exit_code([item], is_detailed=True)),
        )
        for item in items
    ]


def test_every_public_function_is_on_the_page():
    named = re.findall(r"^\| `tuner\.(\w+)\(", PYTHON.read_text(), re.MULTILINE)

    assert sorted(named) == sorted(
        n for n in tuner.__all__ if inspect.isfunction(getattr(tuner, n))
    )
