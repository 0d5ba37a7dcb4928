"""The blocks of a page: what a reader would run, and what the page says they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = str(Path(sys.executable).parent)

_BLOCK = re.compile(r"^```(\w+)(?: exit=(\d+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    kind: str
    code: int
    text: str


def blocks(page):
    return [Block(m[1], int(m[2] or 0), m[3]) for m in _BLOCK.finditer(page.read_text())]


def run(block, home, folder=ROOT):
    """Run a block as a user in a clone with an active environment would; its output and code."""
    environment = os.environ | {"TUNER_HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}"}
    if block.kind == "python":
        command = [sys.executable, "-c", block.text]
    else:  # .venv counts as made, and the one we run in stands in its place
        made = f"make -o .venv/.local BIN={shlex.quote(BIN)} "
        command = ["bash", "-ec", block.text.replace("make ", made)]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    return done.stdout, done.returncode


def check(page, home, folder=ROOT):
    """Every block of a page does what the page says, in its order."""
    said = ""
    for block in blocks(page):
        if block.kind in ("sh", "python"):
            said, code = run(block, home, folder)
            assert code == block.code, f"{block.text}\n{said}"
        elif block.kind == "text":
            lines = {shape(line) for line in said.splitlines()}
            missing = [line for line in block.text.splitlines() if shape(line) not in lines]
            assert not missing, said


def shape(line):
    """A line but for its numbers, which differ from machine to machine, and the digests in ids."""
    return re.sub(r"\d+(\.\d+)?", "#", re.sub(r"-[0-9a-f]{10}\b", "-MODEL", line.strip()))


def stop_service(home):
    """End the service that ``target: local`` has started there."""
    run(Block("sh", 0, "tuner serve --stop"), home)


def broken_links(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    there = page.parent
    return [link for link in links if "://" not in link and not (there / link).exists()]
