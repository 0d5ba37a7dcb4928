"""Put files in place so that a crash leaves the old or the new, never half of one."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tuner.engine import NoRoom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Progress(Protocol):
    """Told what is being done, and how much of how much; 0 of 0 when that is not known."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """One thing more was done."""


def silent(what: str, done: int, total: int, /) -> None:
    """A Progress for nobody."""


def write(path: Path, content: bytes) -> None:
    """Replace ``path`` with ``content``, synced before it is seen."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        sync(aside)
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync(path.parent)


def make_folder(path: Path, fill: Callable[[Path], None]) -> Path:
    """Make the folder ``path`` by filling one beside it and renaming that; what is there already wins.

    Two processes that want the same folder take turns, so it is filled once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path.parent / f".{path.name}.lock"):
        if path.exists():
            return path
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            fill(aside)
            _sync_all(aside)
            aside.rename(path)
            sync(path.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return path


@contextmanager
def needs_room(folder: Path) -> Iterator[None]:
    """Tell a disk that fills up meanwhile as what it is. Raises NoRoom."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise NoRoom(f"there is no room left on the disk of {folder}") from error
        raise


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold ``path`` alone; the system frees it when the process dies, however it dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)
