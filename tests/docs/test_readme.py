"""Every block of the README does what the README says, in its order, with the real model."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tuner.jobs.work import load_work

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(r"^```(\w+)(?: exit=(\d+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BIN = str(Path(sys.executable).parent)


@dataclass(frozen=True)
class Block:
    kind: str
    code: int
    text: str


def blocks():
    return [Block(m[1], int(m[2] or 0), m[3]) for m in BLOCK.finditer(README.read_text())]


def run(block, home):
    """Run a block as a user in a clone with an active environment would; its output and code."""
    environment = os.environ | {"TUNER_HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}"}
    if block.kind == "python":
        command = [sys.executable, "-c", block.text]
    else:  # .venv counts as made, and the one we run in stands in its place
        made = f"make -o .venv/.local BIN={shlex.quote(BIN)} "
        command = ["bash", "-ec", block.text.replace("make ", made)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    return done.stdout, done.returncode


def shape(line):
    """A line but for its numbers, which differ from machine to machine."""
    return re.sub(r"\d+(\.\d+)?", "#", line.strip())


@pytest.fixture
def home(tmp_path):
    yield tmp_path
    run(Block("sh", 0, "tuner serve --stop"), tmp_path)


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(1200)
def test_every_block_runs_and_prints_what_it_says(home):
    said = ""
    for block in blocks():
        if block.kind in ("sh", "python"):
            said, code = run(block, home)
            assert code == block.code, f"{block.text}\n{said}"
        elif block.kind == "text":
            lines = {shape(line) for line in said.splitlines()}
            missing = [line for line in block.text.splitlines() if shape(line) not in lines]
            assert not missing, said


def test_every_spec_is_a_good_one(tmp_path):
    specs = [block.text for block in blocks() if block.kind == "yaml"]
    for number, text in enumerate(specs):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text.replace("datasets/", f"{ROOT}/datasets/"))
        load_work(path)
    assert specs


def test_it_is_short_and_starts_with_a_command():
    lines = README.read_text().splitlines()

    assert len(lines) <= 150
    assert any(line == "make demo" for line in lines[:15])


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())

    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
