"""PostgreSQL as the store: one service a database, and one writer at a time whoever it is.

Two advisory locks see to that. The service's is held by the connection that writes, so a service
that lost it cannot write. The writers' is taken by every transaction that writes: positions are
given out in the order of commits, as page tokens need it, and nothing is ever to be retried.
"""

from __future__ import annotations

import os
import platform
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event

from tuner.errors import InvalidInput, Problem
from tuner.server.store import schema
from tuner.server.store.connections import Database, StoreFailed, StoreTaken

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.exc import DBAPIError

TUNER = 0x74756E65  # "tune": the first half of our locks' numbers
SERVICE, WRITER = 1, 2
PATIENCE_S = 5.0  # a server notices the end of a killed client only after a moment
LOOK_AGAIN_S = 0.1
READERS = 5
SETTINGS = {  # each can be changed in the URL
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
LOCK_TIMEOUT = "-c lock_timeout=30s"
FIXES = {
    "password": "put the right one into the URL (%XX for what is no letter or digit) or into ~/.pgpass",
    "no pg_hba.conf entry": "let that user in: pg_hba.conf on the server says who may come from where",
    "role": "make that user with `createuser`, or name another one in the URL",
    "database": "make it with `createdb`, or name another one in the URL",
    "permission denied": "let that user make tables: GRANT ALL ON SCHEMA public TO ...",
    "already exists": "another program has tables there: name a database of its own",
    "No space left": "make room on the server's disk; nothing was changed",
    "could not extend": "make room on the server's disk; nothing was changed",
    "too many": "raise max_connections, or end other programs; a service takes 6 connections",
    "read-only": "that server is a copy: name the one that can be written",
    "lock timeout": "another program holds the tables: end its transaction",
}
AWAY = "is PostgreSQL running there? a service goes on by itself once it is back"


def open_postgresql(url: str, *, alone: bool) -> Database:
    """The database of a URL that libpq understands, brought to this version's tables.

    Args:
        url: ``postgresql://user:password@host:port/name``; what is left out comes from PGHOST,
            PGPASSWORD and the like, or ~/.pgpass.
        alone: Be its one service, for as long as this process lives.

    Raises:
        InvalidInput: It is no such URL.
        StoreFailed: It cannot be reached or used, or another service has it.
    """
    asked = _parsed(url)
    name = _name(asked)
    explain = partial(_explain, name, asked.get("password"))
    database = Database(
        name,
        _engine(partial(_connect, asked, read_only=True), "REPEATABLE READ", READERS),
        _engine(partial(_connect_writer, asked, name, alone=alone), "READ COMMITTED", 1),
        explain,
    )
    event.listen(database.writer, "begin", _wait_for_turn)
    try:
        database.run(database.writer, schema.prepare, name, partial(_check_unused, name, alone))
    except StoreFailed:
        database.close()
        raise
    return database


def _parsed(url: str) -> dict[str, Any]:
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        what = f"--database {scheme}: no such kind of database"
        raise InvalidInput([Problem("", 0, 0, what, "write postgresql://...; without it: SQLite")])
    try:
        from psycopg import ProgrammingError, conninfo
    except ImportError as error:
        what = "--database postgresql: psycopg, which speaks to PostgreSQL, is not installed"
        raise StoreFailed(what, "pip install 'tuner[postgresql]'") from error
    try:
        return SETTINGS | conninfo.conninfo_to_dict(f"postgresql://{rest}")
    except ProgrammingError as error:  # its text may repeat the password
        fix = "postgresql://USER:PASSWORD@HOST:PORT/NAME, with %XX for what is no letter or digit"
        problem = Problem("", 0, 0, "--database: not a URL that PostgreSQL understands", fix)
        raise InvalidInput([problem]) from error


def _name(asked: dict[str, Any]) -> str:
    user = f"{asked['user']}@" if "user" in asked else ""
    port = f":{asked['port']}" if "port" in asked else ""
    return f"postgresql://{user}{asked.get('host', '')}{port}/{asked.get('dbname', '')}"


def _engine(connect: Callable[[], Any], isolation: Any, connections: int) -> Engine:
    return create_engine(
        "postgresql+psycopg://",
        creator=connect,
        isolation_level=isolation,
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
        use_native_hstore=False,
    )


def _connect(asked: dict[str, Any], *, read_only: bool = False) -> Any:
    import psycopg

    who = f"tuner on {platform.node()[:30]}, process {os.getpid()}"
    options = f"{asked.get('options', '')} {LOCK_TIMEOUT}".strip()
    connection = psycopg.connect(**asked | {"application_name": who, "options": options})
    connection.read_only = read_only
    return connection


def _connect_writer(asked: dict[str, Any], name: str, *, alone: bool) -> Any:
    connection = _connect(asked)
    try:
        _answer(connection, _KEEP_WHAT_IS_ACKNOWLEDGED)
        if alone:
            _become_the_service(connection, name)
    except BaseException:
        connection.close()
        raise
    return connection


def _become_the_service(connection: Any, name: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not _answer(connection, f"SELECT pg_try_advisory_lock({TUNER}, {SERVICE})"):
        if time.monotonic() >= deadline:
            who = _answer(connection, _WHO) or "it has just ended"
            what = f"{name}: another service uses this database: {who}"
            raise StoreTaken(what, "end that one, or name another database with --database")
        time.sleep(LOOK_AGAIN_S)


_KEEP_WHAT_IS_ACKNOWLEDGED = """\
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') = 'off'
"""
_WHO = f"""\
SELECT application_name || ', since ' || date_trunc('second', backend_start)
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND classid = {TUNER} AND objid = {SERVICE}
AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""  # noqa: S608  (numbers of our own)


def _answer(connection: Any, question: str) -> Any:
    row = connection.execute(question).fetchone()
    connection.commit()
    return row and row[0]


def _wait_for_turn(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({TUNER}, {WRITER})")


def _check_unused(name: str, alone: bool, version: int) -> None:
    """Older tables change under a service that wants them so, and under no other."""
    if not alone:
        what = f"{name}: its tables are of an older tuner (schema {version})"
        raise StoreFailed(what, "start `tuner serve` once: it brings them up to date")


def _explain(name: str, password: str | None, error: DBAPIError) -> StoreFailed:
    lines = [line.strip(" -") for line in str(error.orig).splitlines()]
    said = next((line for line in lines if "failed: " in line), lines[0] if lines else "no reason")
    said = said.rpartition("FATAL:")[2].rpartition(" failed: ")[2].strip()
    if password:
        said = said.replace(password, "***")
    fix = next((fix for sign, fix in FIXES.items() if sign in said), AWAY)
    return StoreFailed(f"{name}: {said}", fix)
