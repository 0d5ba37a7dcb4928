"""The real `tuner serve` as a process, for the length of a block."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_S = 60.0


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
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if (file := home / "service" / "address.json").exists():
            return str(json.loads(file.read_text())["grpc"])
    pytest.fail(f"the service did not start: {(home / 'log').read_text()}")
