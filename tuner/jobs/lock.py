"""Job locks: one process works on a job (or a pipeline) at a time.

A lock is one byte of a lock file beside the store, at an offset derived from the job's identity, so a
thousand jobs need one file descriptor. The operating system frees it when the process ends, however it
ends. A stopped process (SIGSTOP) keeps its locks until it continues or is killed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

from tuner.errors import TunerError
from tuner.formatting import format_time

if TYPE_CHECKING:
    from pathlib import Path

LOCK_FILE = "jobs.lock"
PIPELINE = "pipeline"
"""The scope of pipelines; that of a job is its target (``Job.where``)."""
RETRY_S = 1.0  # between two tries to get a lock that another process holds

# Linux locks open file descriptions, so that two runs in one process exclude each other as well, and
# closing another descriptor of the file frees nothing. Elsewhere a lock belongs to the process.
_OFD_SETLK = getattr(fcntl, "F_OFD_SETLK", None)
_FLOCK = "hhqqi4x"  # Linux's struct flock: type, whence, start, length, process


class Holder(NamedTuple):
    """Who holds a lock, as recorded in the store for messages."""

    host: str
    pid: int
    since: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {format_time(self.since)})"


def this_process(now: float) -> Holder:
    """Return this process as a holder; ``now`` is in seconds since 1970."""
    return Holder(socket.gethostname(), os.getpid(), now)


class JobLocks:
    """The locks of one run; opened with the first lock, freed when closed or when the process ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._file = -1
        self._held: set[tuple[str, str]] = set()

    def acquire(self, scope: str, name: str) -> bool:
        """Lock a job or pipeline without waiting; return False if another run holds the lock.

        Raises:
            TunerError: The file cannot be created, or its file system has no locks.
        """
        if (scope, name) in self._held:
            return True
        try:
            if self._file < 0:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._set(fcntl.F_WRLCK, scope, name)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise TunerError(
                f"{self._path} cannot be locked: {error.strerror}",
                "set TUNER_HOME to a folder on a local disk",
            ) from error
        self._held.add((scope, name))
        return True

    def release(self, scope: str, name: str) -> None:
        """Free a lock."""
        if (scope, name) in self._held:
            self._set(fcntl.F_UNLCK, scope, name)
            self._held.remove((scope, name))

    def holds(self, scope: str, name: str) -> bool:
        """Return whether this run holds the lock."""
        return (scope, name) in self._held

    def close(self) -> None:
        """Free all locks."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
        self._held.clear()

    def _set(self, kind: int, scope: str, name: str) -> None:
        digest = hashlib.sha256(f"{scope}\0{name}".encode()).digest()
        offset = int.from_bytes(digest[:8]) >> 2  # 62 bits: collisions are out of the question
        if _OFD_SETLK is not None:
            lock = struct.pack(_FLOCK, kind, os.SEEK_SET, offset, 1, 0)
            fcntl.fcntl(self._file, _OFD_SETLK, lock)
        else:
            flags = fcntl.LOCK_UN if kind == fcntl.F_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB
            fcntl.lockf(self._file, flags, 1, offset, os.SEEK_SET)
