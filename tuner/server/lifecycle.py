"""One service a folder: its lock, the file that says where it listens, and how to stop it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING

from tuner.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_TIMEOUT_S = 1.0  # others look whether it is held by holding it for an instant
STOP_TIMEOUT_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Addresses:
    """How to reach the doors from this machine.

    Attributes:
        grpc: ``host:port``.
        rest: The same; None where there is no such door.
        tls: Whether both speak TLS.
        ca: A file with the authority to trust, where it is our own.
    """

    grpc: str
    rest: str | None = None
    tls: bool = False
    ca: str | None = None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder until the end of the block, or of this process.

    Raises:
        Unavailable: A service holds it; the message says which.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        if not _take(file, LOCK_TIMEOUT_S):
            raise Unavailable(_held_by(folder), "use that one, or end it: tuner serve --stop")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def publish(folder: Path, addresses: Addresses) -> None:
    """Say where the service listens, once it does: the file is whole or not there."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps(asdict(addresses) | {"pid": os.getpid(), "started": started})
    aside = folder / "address.json.new"
    aside.write_text(text, encoding="utf-8")
    aside.replace(folder / "address.json")


def withdraw(folder: Path) -> None:
    """Take the address back: from now on nobody should come."""
    (folder / "address.json").unlink(missing_ok=True)


def stop(folder: Path) -> bool:
    """End the service of a folder and wait until it is gone; False when none was there.

    Raises:
        Unavailable: It does not end.
    """
    try:
        file = (folder / "lock").open("r+")
    except FileNotFoundError:
        return False
    with file:
        if _take(file, 0):
            return False
        with suppress(ProcessLookupError):
            os.kill(_pid(folder), signal.SIGTERM)
        if not _take(file, STOP_TIMEOUT_S):
            what = f"{_held_by(folder)}, and it did not end in {STOP_TIMEOUT_S:.0f} s"
            raise Unavailable(what, f"kill -9 {_pid(folder)}: its tunings go on from checkpoints")
        withdraw(folder)
    return True


def _take(file: IO[str], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        else:
            return True


def _pid(folder: Path) -> int:
    text = (folder / "lock").read_text(encoding="utf-8").strip()
    if not text.isdigit():
        raise Unavailable(f"a service that is just starting holds {folder}", "try again")
    return int(text)


def _held_by(folder: Path) -> str:
    where = ""
    with suppress(OSError, ValueError, KeyError):
        content = json.loads((folder / "address.json").read_text(encoding="utf-8"))
        where = f" and listens on {content['grpc']}"
    return f"a service runs in {folder} already: process {_pid(folder)} holds it{where}"
