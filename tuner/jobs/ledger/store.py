"""The ledger's file: transactions, queries, and one clear line for whatever SQLite complains of."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tuner.errors import TunerError
from tuner.jobs.ledger.schema import VERSION, migrate, version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

BUSY_S = 30.0
# every commit is on disk before it counts; a test that commits a million times may say OFF
SYNCHRONOUS = "FULL"


def nothing(_moment: str) -> None:
    """What is done around a transaction, but for tests."""


class Store:
    """An open ledger file; one that was deleted meanwhile is begun anew.

    Attributes:
        explained: Around what SQLite, or a bookmark that is none, may complain of: as a TunerError.

    Raises:
        TunerError: From every method: the file is damaged, full, not to be written, or comes from
            a newer tuner.
    """

    def __init__(self, path: Path, around: Callable[[str], None] = nothing) -> None:
        """Open the file, making it when there is none.

        ``around`` is called with ``begin`` before a transaction, ``commit`` before and
        ``committed`` after its commit: the moments a process may die at.
        """
        self.path = path
        self.explained = _Explained(path, (sqlite3.Error, OSError, ValueError, KeyError, TypeError))
        self._complaints = _Explained(path, (sqlite3.Error, OSError))
        self._around = around
        self._db: sqlite3.Connection
        self._open()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing: committed at the end, undone when anything is raised."""
        self._around("begin")
        with self.explained:
            self._reopen()
            self._db.execute("BEGIN IMMEDIATE")
        try:
            with self._complaints:
                yield self._db
            self._around("commit")
            with self.explained:
                self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.rollback()
            raise
        self._around("committed")

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """What a query finds, outside of any transaction."""
        with self.explained:
            self._reopen()
            return self._db.execute(query, tuple(values)).fetchall()

    def _open(self) -> None:
        with self.explained:
            # made with the file's own mode: it holds names of people and what models answered
            self.path.touch(mode=0o600)
            self._db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            self._identity = _identity(self.path)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
            if version(self._db) != VERSION:
                self._migrate()

    def _migrate(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            found = version(self._db)
            migrate(self._db)
        except BaseException:
            self._db.rollback()
            raise
        self._db.execute("COMMIT")
        if found > VERSION:
            self._db.close()
            raise TunerError(
                f"{self.path} was written by a newer tuner "
                f"(schema {found}, this one knows {VERSION})",
                "upgrade with `pip install --upgrade tuner`",
            )

    def _reopen(self) -> None:
        """SQLite writes on to a file that was deleted, and nobody would ever read it."""
        if _identity(self.path) != self._identity:
            self._db.close()
            self._open()


class _Explained:
    """A block whose errors of some kinds are raised as one TunerError; may be entered many times."""

    def __init__(self, path: Path, kinds: tuple[type[Exception], ...]) -> None:
        self._path, self._kinds = path, kinds

    def __enter__(self) -> None:
        """Nothing is prepared."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Raise the error that is meant."""
        if isinstance(error, self._kinds):
            raise _explain(self._path, error) from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 -- before every query, and three times as fast
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _explain(path: Path, error: Exception) -> TunerError:
    if isinstance(error, OSError) or "readonly" in str(error):
        return TunerError(
            f"the ledger {path} cannot be written: {error}",
            "make the file and its folder writable, or set TUNER_HOME to another folder",
        )
    return TunerError(
        f"the ledger {path} cannot be used: {error}",
        "free some disk space if it is full; if it is damaged move it away and run again: "
        "the service knows what was tuned, nothing happens twice",
    )
