"""SQLite as the store: one file, readable by its owner only."""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event

from tuner.server.store import schema
from tuner.server.store.connections import Database, StoreFailed

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine
    from sqlalchemy.exc import DBAPIError

BUSY_TIMEOUT_MS = 30_000
FIXES = {
    "malformed": "move it aside and restore a copy; without one the service starts empty",
    "not a database": "move it aside; the service starts empty without it",
    "full": "make room on that disk; nothing was changed",
    "disk I/O error": "is the disk full or failing? nothing was changed",
    "readonly": "let this account write the file and its folder",
    "unable to open": "let this account write the file and its folder",
    "already exists": "another program has tables there: name another folder with --home",
    "locked": "another program holds it: end that program",
}


def open_sqlite(path: Path, *, alone: bool) -> Database:
    """The file, made when missing and brought to this version's tables.

    Raises:
        StoreFailed: It is damaged, not to be written, or a newer tuner made it.
    """
    _check_file(path)
    database = Database(
        str(path), _engine(path, "BEGIN"), _engine(path, "BEGIN IMMEDIATE"), partial(_explain, path)
    )
    # Foreign keys are off meanwhile: a table put in another's place must not take its rows along.
    upgrader = _engine(path, "BEGIN IMMEDIATE", foreign_keys="OFF")
    try:
        database.run(upgrader, _check_content, path)
        database.run(upgrader, schema.prepare, str(path), partial(_save, path, alone=alone))
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
        fix = "name a folder you may write with --home"
        raise StoreFailed(f"{path}: {error.strerror}", fix) from error
    weights = path.parent / schema.TUNINGS
    if not is_new and not path.stat().st_size and weights.is_dir() and any(weights.iterdir()):
        what = f"{path}: damaged: it is empty, and {weights} beside it is not"
        raise StoreFailed(what, FIXES["malformed"])


def _engine(path: Path, begin: str, foreign_keys: str = "ON") -> Engine:
    engine = create_engine(f"sqlite:///{path}", hide_parameters=True)

    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin our own transactions
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA foreign_keys={foreign_keys}")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _check_content(connection: Connection, path: Path) -> None:
    health = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if health != "ok":
        raise _told(path, f"malformed: {health.splitlines()[-1]}")


def _save(path: Path, version: int, *, alone: bool) -> None:
    """Keep a copy of the file before its tables change; not under the feet of a service."""
    if not alone and _is_served(path.parent):
        what = f"{path}: a running service of an older tuner uses it (schema {version})"
        raise StoreFailed(what, "start that service anew: tuner serve --stop, then tuner serve")
    copy = path.with_name(f"{path.name}.schema-{version}")
    aside = copy.with_name(f"{copy.name}.new")
    aside.unlink(missing_ok=True)
    aside.touch(mode=0o600)
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(aside)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        raise _told(path, f"no copy could be made before its tables change: {error}") from error
    aside.replace(copy)


def _is_served(folder: Path) -> bool:
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _explain(path: Path, error: DBAPIError) -> StoreFailed:
    return _told(path, str(error.orig))


def _told(path: Path, problem: str) -> StoreFailed:
    fix = next((fix for sign, fix in FIXES.items() if sign in problem), "")
    damaged = "damaged: " if "malformed" in problem or "not a database" in problem else ""
    return StoreFailed(f"{path}: {damaged}{problem.splitlines()[0]}", fix)
