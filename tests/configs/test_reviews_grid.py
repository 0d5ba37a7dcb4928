"""configs/reviews-grid.yaml on the real service, killed twice on its way, ends as if it had not been."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fakes.models import lend

pytestmark = [pytest.mark.slow, pytest.mark.model, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
ROWS = "{evaluation.holdout: 0.6, evaluation.max_examples: 40}"
FEWER_ROWS = "{evaluation.holdout: 0.88, evaluation.max_examples: 16}"
CHANGES = ("CreateTunedModel", "CreatePermission", "TransferOwnership", "DeleteTunedModel")


@pytest.fixture
def folder(tmp_path):
    """The files of the repository beside a home of their own."""
    for name in ("configs", "datasets"):
        shutil.copytree(ROOT / name, tmp_path / name)
    grid = tmp_path / "configs" / "reviews-grid.yaml"
    text = grid.read_text()
    assert ROWS in text
    grid.write_text(text.replace(ROWS, FEWER_ROWS))
    lend(tmp_path / "home")
    yield tmp_path
    tuner(tmp_path, "serve", "--stop")


def process(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tuner", *arguments],
        cwd=folder,
        env=os.environ | {"TUNER_HOME": str(folder / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tuner(folder, *arguments):
    with process(folder, *arguments) as running:
        out, said = running.communicate()
    return running.returncode, out, said


def killed(folder, at, times=1):
    """A run that is killed when it has said so for the so-manieth time."""
    with process(folder, "run", "configs/reviews-grid.yaml") as running:
        for line in running.stderr:
            times -= at in line
            if not times:
                break
        running.kill()
    assert not times, f"it never said {at!r}"


def done(folder):
    """How often the service did what changes something, from its log."""
    log = (folder / "home" / "service" / "serve.log").read_text().splitlines()
    calls = [json.loads(line) for line in log if line.startswith("{")]
    return Counter(
        call["event"] for call in calls if call["event"] in CHANGES and call.get("code") == "OK"
    )


def test_a_grid_killed_twice_ends_as_it_would_have(folder):
    killed(folder, "submitted", times=2)
    killed(folder, "granted")

    code, out, said = tuner(folder, "run", "configs/reviews-grid.yaml", "-o", "json")

    assert code == 0, said
    (told,) = json.loads(out)
    phases = Counter(stage["phase"] for stage in told["stages"])
    assert phases["SELECTED"] == 1
    assert phases.total() == 4
    assert set(phases) <= {"SELECTED", "NOT SELECTED", "REJECTED"}
    assert done(folder) == {"CreateTunedModel": 4, "CreatePermission": 1, "TransferOwnership": 1}
    again, _, said = tuner(folder, "run", "configs/reviews-grid.yaml")
    assert again == 0, said
    assert done(folder)["CreateTunedModel"] == 4
