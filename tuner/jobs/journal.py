"""Files of one JSON object a line, which many processes add to at once."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# a line that must not be lost is on the disk before it counts; a test that writes a million may say no
SYNCS = True


def append(path: Path, record: Mapping[str, object], *, durable: bool = False) -> None:
    """Add a line, whole or not at all, to a file that only its owner may read.

    Args:
        path: Made when missing, its folder too.
        record: One object.
        durable: The line is on the disk when this returns, and survives a crash of the machine.

    Raises:
        OSError: The file cannot be written; what it held is as it was.
    """
    line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    with _opened(path) as (file, is_new):
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":  # a crash tore the last line
            line = b"\n" + line
        try:
            _write(file, line)
            if durable and SYNCS:
                os.fsync(file)
        except OSError:
            os.ftruncate(file, size)
            raise
    if durable and SYNCS and is_new:
        _sync_folder(path.parent)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, bool]]:
    """The file, held by nobody else, and whether it is empty yet."""
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file, os.fstat(file).st_size == 0
    finally:
        os.close(file)


def _write(file: int, line: bytes) -> None:
    while line:
        line = line[os.write(file, line) :]


def _sync_folder(folder: Path) -> None:
    """A new file's name is on the disk when its folder is."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def rotate(path: Path, most_bytes: int) -> None:
    """Name a file that has grown to ``most_bytes`` ``.1``, in place of an older one.

    Raises:
        OSError: It cannot be renamed.
    """
    try:
        if path.stat().st_size < most_bytes:
            return
        with _opened(path) as (file, _):
            if os.fstat(file).st_ino == path.stat().st_ino:  # nobody was faster
                path.replace(older(path))
    except FileNotFoundError:
        return


def older(path: Path) -> Path:
    """Where a rotated file's lines are."""
    return path.with_name(f"{path.name}.1")


def records(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of whole lines; what is torn or none is left out."""
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
