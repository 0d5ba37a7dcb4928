"""The code blocks of a page: run them as a reader would, and compare their output with the page."""

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
    """Run a block as a user in a clone with an active environment would; return output and exit code."""
    environment = os.environ | {"TUNER_HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}"}
    if block.kind == "python":
        command = [sys.executable, "-c", block.text]
    else:  # make uses this environment and does not create .venv
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
    """Run the blocks of a page in order; each text block must be in the output of the block before it."""
    output = ""
    for block in blocks(page):
        if block.kind in ("sh", "python"):
            output, code = run(block, home, folder)
            assert code == block.code, f"{block.text}\n{output}"
        elif block.kind == "text":
            lines = {shape(line) for line in output.splitlines()}
            missing = [line for line in block.text.splitlines() if shape(line) not in lines]
            assert not missing, output


def shape(line):
    """Return a line without numbers and digests in IDs, which differ from machine to machine."""
    return re.sub(r"\d+(\.\d+)?", "#", re.sub(r"-[0-9a-f]{10}\b", "-MODEL", line.strip()))


def stop_service(home):
    """Stop the service that ``target: local`` started."""
    run(Block("sh", 0, "tuner serve --stop"), home)


def broken_links(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    there = page.parent
    return [link for link in links if "://" not in link and not (there / link).exists()]
