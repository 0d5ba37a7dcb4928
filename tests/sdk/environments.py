"""A Python environment for each of Google's clients, made from exact versions and kept for the next run."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2] / ".venvs"
REQUIREMENTS = Path(__file__).parent / "requirements"
STAMP = "made-from"


def python(name: str, requirements: Path | None = None) -> Path:
    """The Python of an environment with the versions in a folder's ``NAME.txt`` and no others.

    Made where it is missing or made from something else; of several processes one makes it.
    """
    versions = (requirements or REQUIREMENTS) / f"{name}.txt"
    folder, key = ROOT / name, _key(versions)
    ROOT.mkdir(exist_ok=True)
    with (ROOT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / STAMP
        if not stamp.exists() or stamp.read_text() != key:
            _make(folder, versions)
            stamp.write_text(key)  # last: half an environment is none
    return folder / "bin" / "python"


def version(name: str, package: str) -> str:
    """The version of a package that an environment holds."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text().split()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{package}=="))


def _key(requirements: Path) -> str:
    return hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()


def _make(folder: Path, requirements: Path) -> None:
    # --no-deps: the list is whole, and nothing may come along that it does not name.
    wanted = ("install", "--quiet", "--no-deps", "-r", str(requirements))
    uv = (sys.executable, "-m", "uv")
    try:
        _run(*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        _run(*uv, "pip", *wanted, "--python", str(folder / "bin" / "python"))
    except subprocess.CalledProcessError:  # no uv, or an index that only pip is set up for
        venv.create(folder, clear=True)
        _run(sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), *wanted)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
