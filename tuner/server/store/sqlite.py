"""SQLite as the service's database: one file, readable by its owner only."""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event

from tuner.server.store.database import Database, StoreFailed
from tuner.server.store.schema import WEIGHTS_FOLDER, prepare

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine

BUSY_TIMEOUT_MS = 30_000
FIXES = {  # by a part of SQLite's message
    "malformed": "move it aside and restore a copy; without one the service starts empty",
    "not a database": "move it aside; the service starts empty without it",
    "full": "free space on that disk; nothing was changed",
    "disk I/O error": "check whether the disk is full or failing; nothing was changed",
    "readonly": "allow this account to write the file and its folder",
    "unable to open": "allow this account to write the file and its folder",
    "already exists": "another program has tables there: choose another folder with --home",
    "locked": "another program holds it: end that program",
}


def open_sqlite(path: Path, *, exclusive: bool) -> Database:
    """Open the file, creating or upgrading its tables.

    Raises:
        StoreFailed: It is damaged, cannot be written, or was written by a newer tuner.
    """
    _check_file(path)
    database = Database(
        str(path),
        reader=_engine(path, "BEGIN"),
        writer=_engine(path, "BEGIN IMMEDIATE"),
        explain=lambda error: _failure(path, str(error.orig)),
    )
    # Without foreign keys: otherwise replacing a table would delete the rows that refer to it.
    upgrader = _engine(path, "BEGIN IMMEDIATE", foreign_keys="OFF")
    try:
        database.run(upgrader, _check_content, path)
        back_up = partial(_back_up, path, exclusive=exclusive)
        database.run(upgrader, prepare, str(path), back_up)
    except StoreFailed:
        database.close()
        raise
    finally:
        upgrader.dispose()
    return database


def _check_file(path: Path) -> None:
    is_new = not path.exists()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        fix = "choose a folder that this account may write, with --home"
        raise StoreFailed(f"{path}: {error.strerror}", fix) from error
    weights = path.parent / WEIGHTS_FOLDER
    if not is_new and not path.stat().st_size and weights.is_dir() and any(weights.iterdir()):
        what = f"{path}: damaged: it is empty, but {weights} beside it is not"
        raise StoreFailed(what, FIXES["malformed"])


def _engine(path: Path, begin: str, foreign_keys: str = "ON") -> Engine:
    engine = create_engine(f"sqlite:///{path}", hide_parameters=True)

    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the listener below begins transactions
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA foreign_keys={foreign_keys}")

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _check_content(connection: Connection, path: Path) -> None:
    health = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if health != "ok":
        raise _failure(path, f"malformed: {health.splitlines()[-1]}")


def _back_up(path: Path, version: int, *, exclusive: bool) -> None:
    """Copy the file before its tables change; refuse while an older service uses it."""
    if not exclusive and _is_locked(path.parent):
        what = f"{path}: a running service of an older tuner uses it (schema {version})"
        raise StoreFailed(what, "restart that service: tuner serve --stop, then tuner serve")
    copy = path.with_name(f"{path.name}.schema-{version}")
    partial_copy = copy.with_name(f"{copy.name}.new")
    partial_copy.unlink(missing_ok=True)
    partial_copy.touch(mode=0o600)
    try:
        with (
            closing(sqlite3.connect(path)) as source,
            closing(sqlite3.connect(partial_copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise _failure(path, f"it could not be copied before its upgrade: {error}") from error
    partial_copy.replace(copy)


def _is_locked(folder: Path) -> bool:
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _failure(path: Path, problem: str) -> StoreFailed:
    fix = next((fix for text, fix in FIXES.items() if text in problem), "")
    damaged = "damaged: " if "malformed" in problem or "not a database" in problem else ""
    return StoreFailed(f"{path}: {damaged}{problem.splitlines()[0]}", fix)
