"""PostgreSQL as the service's database: one service per database, one write transaction at a time.

Two advisory locks enforce that. The connection that writes holds the service's lock, so a service that
lost it cannot write. Every write transaction takes the writers' lock: positions then increase in the
order of commits, as page tokens need it, and no transaction has to be retried.
"""

from __future__ import annotations

import os
import platform
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event

from tuner.errors import InvalidInput, Problem
from tuner.server.store.database import Database, StoreFailed, StoreInUse
from tuner.server.store.schema import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine
    from sqlalchemy.exc import DBAPIError

LOCK_CLASS = 0x74756E65  # "tune": the first half of the locks' numbers
SERVICE_LOCK, WRITER_LOCK = 1, 2
LOCK_PATIENCE_S = 5.0  # a server may notice the end of a killed client only after a moment
RETRY_LOCK_S = 0.1
READERS = 5
DEFAULTS = {  # of parameters that the URL may set
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
LOCK_TIMEOUT = "-c lock_timeout=30s"
FIXES = {  # by a part of PostgreSQL's message
    "password": "put the right one into the URL (%XX for special characters) or into ~/.pgpass",
    "no pg_hba.conf entry": "allow that user and this address in the server's pg_hba.conf",
    "role": "create that user with `createuser`, or name another one in the URL",
    "database": "create it with `createdb`, or name another one in the URL",
    "permission denied": "allow that user to create tables: GRANT ALL ON SCHEMA public TO ...",
    "already exists": "another program has tables there: choose a database that only tuner uses",
    "No space left": "free space on the server's disk; nothing was changed",
    "could not extend": "free space on the server's disk; nothing was changed",
    "too many": "raise max_connections, or end other programs; a service takes 6 connections",
    "read-only": "that server is a replica: name the primary",
    "lock timeout": "another program holds the tables: end its transaction",
}
UNREACHABLE = "check that PostgreSQL is running there; a running service reconnects by itself"
_CONFIRM_DURABLY = """\
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') = 'off'
"""
_LOCK_HOLDER = f"""\
SELECT application_name || ', since ' || date_trunc('second', backend_start)
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND classid = {LOCK_CLASS} AND objid = {SERVICE_LOCK}
AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""  # noqa: S608  (constants of this module)


def open_postgresql(url: str, *, exclusive: bool) -> Database:
    """Open the database of a libpq URL, creating or upgrading its tables.

    Args:
        url: ``postgresql://user:password@host:port/name``; missing parts come from PGHOST,
            PGPASSWORD and the like, or ~/.pgpass.
        exclusive: Hold the service's lock for as long as this process lives.

    Raises:
        InvalidInput: It is not such a URL.
        StoreFailed: It cannot be reached or used, or another service uses it.
    """
    parameters = _parse(url)
    name = _name(parameters)
    connect_writer = partial(_connect_writer, parameters, name, exclusive=exclusive)
    database = Database(
        name,
        reader=_engine(partial(_connect, parameters, read_only=True), "REPEATABLE READ", READERS),
        writer=_engine(connect_writer, "READ COMMITTED", 1),
        explain=partial(_explain, name, parameters.get("password")),
    )
    take_lock = f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {WRITER_LOCK})"
    event.listen(database.writer, "begin", lambda connection: connection.exec_driver_sql(take_lock))

    def check_may_upgrade(version: int) -> None:
        if not exclusive:
            what = f"{name}: its tables are of an older tuner (schema {version})"
            raise StoreFailed(what, "start `tuner serve` once: it upgrades them")

    try:
        database.run(database.writer, prepare, name, check_may_upgrade)
    except StoreFailed:
        database.close()
        raise
    return database


def _parse(url: str) -> dict[str, Any]:
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        what = f"--database {scheme}: unknown kind of database"
        raise InvalidInput([Problem("", 0, 0, what, "write postgresql://...; without it: SQLite")])
    try:
        from psycopg import ProgrammingError, conninfo
    except ImportError as error:
        what = "--database postgresql: the package psycopg is not installed"
        raise StoreFailed(what, "pip install 'tuner[postgresql]'") from error
    try:
        return DEFAULTS | conninfo.conninfo_to_dict(f"postgresql://{rest}")
    except ProgrammingError as error:  # its text may contain the password
        fix = "postgresql://USER:PASSWORD@HOST:PORT/NAME, with %XX for special characters"
        problem = Problem("", 0, 0, "--database: not a URL that PostgreSQL understands", fix)
        raise InvalidInput([problem]) from error


def _name(parameters: dict[str, Any]) -> str:
    user = f"{parameters['user']}@" if "user" in parameters else ""
    port = f":{parameters['port']}" if "port" in parameters else ""
    return f"postgresql://{user}{parameters.get('host', '')}{port}/{parameters.get('dbname', '')}"


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


def _connect(parameters: dict[str, Any], *, read_only: bool = False) -> Any:
    import psycopg

    program = f"tuner on {platform.node()[:30]}, process {os.getpid()}"
    options = f"{parameters.get('options', '')} {LOCK_TIMEOUT}".strip()
    connection = psycopg.connect(**parameters | {"application_name": program, "options": options})
    connection.read_only = read_only
    return connection


def _connect_writer(parameters: dict[str, Any], name: str, *, exclusive: bool) -> Any:
    connection = _connect(parameters)
    try:
        _query(connection, _CONFIRM_DURABLY)
        if exclusive:
            _take_service_lock(connection, name)
    except BaseException:
        connection.close()
        raise
    return connection


def _take_service_lock(connection: Any, name: str) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while not _query(connection, f"SELECT pg_try_advisory_lock({LOCK_CLASS}, {SERVICE_LOCK})"):
        if time.monotonic() >= deadline:
            holder = _query(connection, _LOCK_HOLDER) or "it has just ended"
            what = f"{name}: another service uses this database: {holder}"
            raise StoreInUse(what, "end that service, or choose another database with --database")
        time.sleep(RETRY_LOCK_S)


def _query(connection: Any, query: str) -> Any:
    row = connection.execute(query).fetchone()
    connection.commit()
    return row and row[0]


def _explain(name: str, password: str | None, error: DBAPIError) -> StoreFailed:
    lines = [line.strip(" -") for line in str(error.orig).splitlines()]
    reason = next((line for line in lines if "failed: " in line), lines[0] if lines else "unknown")
    reason = reason.rpartition("FATAL:")[2].rpartition(" failed: ")[2].strip()
    if password:
        reason = reason.replace(password, "***")
    fix = next((fix for text, fix in FIXES.items() if text in reason), UNREACHABLE)
    return StoreFailed(f"{name}: {reason}", fix)
