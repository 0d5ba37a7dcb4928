"""Files of one JSON object a line, which many processes add to at once."""

from __future__ import annotations

import fcntl
import json
import os
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# a line that must not be lost is on the disk before it counts; a test that writes a million may say no
SYNCS = True


class Journal:
    """One such file, kept open from its first line on; another process may rotate or remove it."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self._path = path
        self._open: _Open | None = None

    def append(self, record: Mapping[str, object], *, durable: bool = False) -> None:
        """Add a line, whole or not at all, to a file that only its owner may read.

        Args:
            record: One object.
            durable: The line is on the disk when this returns, and survives a crash of the machine.

        Raises:
            OSError: The file cannot be written; what it held is as it was.
        """
        line = _as_json(record).encode("utf-8", "backslashreplace") + b"\n"
        opened = self._opened()
        with _locked(opened.file):
            opened.add(line, durable=durable and SYNCS)
        if durable and SYNCS and not opened.is_named:
            _sync_folder(self._path.parent)
            opened.is_named = True

    def _opened(self) -> _Open:
        """The file that has the name now. A child of this process has none: a lock of its own it must have."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 -- for every line, and three times as fast
        except FileNotFoundError:
            found = None
        opened = self._open
        if opened is None or found is None or not opened.is_of(found):
            self._open = opened = _Open(self._path)
        return opened


_as_json = json.JSONEncoder(ensure_ascii=False).encode


class _Open:
    """An open file, closed when nobody has it any more."""

    def __init__(self, path: Path) -> None:
        self.file = _open(path)
        found = os.fstat(self.file)
        self._identity = (found.st_dev, found.st_ino, os.getpid())
        self._end = -1
        self.is_named = False
        weakref.finalize(self, os.close, self.file)

    def is_of(self, found: os.stat_result) -> bool:
        return (found.st_dev, found.st_ino, os.getpid()) == self._identity

    def add(self, line: bytes, *, durable: bool) -> None:
        """Add it while nobody else writes."""
        size = os.fstat(self.file).st_size
        is_ours = size == self._end  # nobody has written since
        if size and not is_ours and os.pread(self.file, 1, size - 1) != b"\n":
            line = b"\n" + line  # a crash tore the last line
        try:
            _write(self.file, line)
            if durable:
                os.fsync(self.file)
        except OSError:
            os.ftruncate(self.file, size)
            raise
        self._end = size + len(line)


def append(path: Path, record: Mapping[str, object], *, durable: bool = False) -> None:
    """Add one line to a file that is not kept open, as ``Journal.append``."""
    Journal(path).append(record, durable=durable)


def _open(path: Path) -> int:
    """The file, made when missing, its folder too."""
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def _locked(file: int) -> Iterator[None]:
    """While nobody else holds it."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


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
        opened = _Open(path)
        with _locked(opened.file):
            if opened.is_of(path.stat()):  # nobody was faster
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
