"""The real `tuner serve` as a process, for the length of a block."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_S = 60.0
LOOK_S = 0.02


@contextmanager
def running_service(home: Path, *options: str) -> Iterator[str]:
    """Serve on a free port with a home of its own; yields ``host:port``."""
    command = [sys.executable, "-m", "tuner", "serve", "--grpc", "127.0.0.1:0", "--rest", "off"]
    command += ["--home", str(home), *options]
    with (home / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield _address(home, process)
        finally:
            process.terminate()


def _address(home: Path, process: subprocess.Popen[bytes]) -> str:
    file = home / "service" / "address.json"
    for _ in range(round(START_S / LOOK_S)):
        with suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_S)
            break
        if file.exists():
            return str(json.loads(file.read_text())["grpc"])
    pytest.fail(f"the service did not start: {(home / 'log').read_text()}")
