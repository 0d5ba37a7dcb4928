"""docs/guarantees.md: every promise names tests that exist, and the figures are those of the tests."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.crash import test_kill_in_recovery, test_simulator
from tests.crash.guards import BREAKS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| promise")
]


@cache
def names_in(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_every_promise_names_tests_that_exist(row):
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[1])

    assert named
    assert [each for each in named if each[1] not in names_in(each[0])] == []


def test_the_figures_are_those_of_the_tests():
    pairs = test_kill_in_recovery.SECONDS, test_kill_in_recovery.PAIRS
    figures = [row[2] for row in ROWS]

    assert (
        "each first moment of a job with {} second ones; {} pairs of a pipeline".format(*pairs)
        in figures
    )
    seeds, kills = test_kill_in_recovery.SEEDS, test_kill_in_recovery.MOST_KILLS
    assert f"{seeds} seeds, half of them of a job, 1 to {kills} kills each" in figures
    assert f"{test_simulator.SEEDS} seeds, 10,000 in `make soak`" in figures
    assert f"{len(BREAKS)} guards removed, one by one" in figures
