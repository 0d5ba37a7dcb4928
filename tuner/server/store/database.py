"""The database behind the service: opened, checked, read and changed.

SQL stands in functions ``f(connection, ...)`` in the files beside this one; they run here, in a
thread, each in one transaction.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from sqlalchemy import create_engine, event, inspect, select
from sqlalchemy.exc import DBAPIError

from tuner.errors import TunerError
from tuner.server import metrics
from tuner.server.store import tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection, Engine

BUSY_TIMEOUT_MS = 30_000
REMEMBER_S = 1.0
REMEMBER_MOST = 10_000

P = ParamSpec("P")
T = TypeVar("T")
Transaction: TypeAlias = "Connection"
"""What a function that the store runs gets first, for those outside who write one."""


class StoreFailed(TunerError):
    """The database is damaged, full, locked or from another version."""

    exit_code = 5


class Store:
    """One SQLite file. Reads run side by side, writes one after the other.

    Args:
        path: Made when missing; readable by its owner only.

    Raises:
        StoreFailed: It is damaged, not to be written, or a newer tuner made it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = _open(path)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="store-reader")
        self._memory: dict[Any, tuple[float, Any]] = {}
        self._changed = asyncio.Event()

    def run(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Change something, here and now: for those without an event loop."""
        job = _transaction(self._engine, self.path, writes=True)
        done: T = job(work, *args, **kwargs)
        return done

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read, as of one moment."""
        job = _transaction(self._engine, self.path, writes=False)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: job(work, *args, **kwargs))

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Change something. Once asked for it happens, even if the caller is cancelled meanwhile."""
        job = _transaction(self._engine, self.path, writes=True)
        loop, started = asyncio.get_running_loop(), time.monotonic()
        future = loop.run_in_executor(self._writer, lambda: job(work, *args, **kwargs))
        future.add_done_callback(lambda _: metrics.note_write(time.monotonic() - started))
        future.add_done_callback(lambda _: self._forget())
        return await asyncio.shield(future)

    async def recall(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read from memory, which every write here empties and nothing outlives by a second.

        The second is for other processes: ``tuner keys`` changes the same file.
        """
        question = (work, args, tuple(kwargs.items()))
        now = time.monotonic()
        known = self._memory.get(question)
        if known is not None and now - known[0] < REMEMBER_S:
            return known[1]  # type: ignore[no-any-return]
        memory = self._memory
        answer = await self.read(work, *args, **kwargs)
        if len(memory) < REMEMBER_MOST:
            memory[question] = now, answer  # lands in a dropped memory if a write came between
        return answer

    async def changed(self, timeout_s: float) -> None:
        """Wait for the next write, or for the time to pass."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return

    def close(self) -> None:
        """Finish what was asked for, then let go of the file."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()

    def _forget(self) -> None:
        self._memory = {}
        self._changed.set()
        self._changed = asyncio.Event()


def open_store(folder: Path, database: str | None = None) -> Store:
    """The database of the service in ``folder``: its own SQLite file, or the one that the URL names.

    Raises:
        StoreFailed: It cannot be used.
    """
    if database is not None:
        raise StoreFailed(f"{database.partition(':')[0]}: no such kind of database")
    return Store(folder / "service.db")


def _open(path: Path) -> Engine:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise StoreFailed(
            f"{path}: {error.strerror}", "name a folder you may write with --home"
        ) from error
    engine = create_engine(f"sqlite:///{path}", hide_parameters=True)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    try:
        _transaction(engine, path, writes=True)(_migrate, path)
    except StoreFailed:
        engine.dispose()
        raise
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin our own transactions
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _transaction(engine: Engine, path: Path, *, writes: bool) -> Callable[..., Any]:
    def run(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            with (
                engine.connect().execution_options(writes=writes) as connection,
                connection.begin(),
            ):
                return work(connection, *args, **kwargs)
        except DBAPIError as error:
            raise _explained(path, str(error.orig)) from error

    return run


def _migrate(connection: Connection, path: Path) -> None:
    health = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if health != "ok":
        raise _explained(path, f"malformed: {health}")
    if not inspect(connection).has_table("schema_version"):
        tables.metadata.create_all(connection)
        connection.execute(tables.schema_version.insert().values(version=tables.SCHEMA_VERSION))
    found = connection.execute(select(tables.schema_version.c.version)).scalar_one()
    if found != tables.SCHEMA_VERSION:
        raise StoreFailed(
            f"{path}: written by another version of tuner (schema {found}, this one reads"
            f" {tables.SCHEMA_VERSION})",
            "run the newer tuner, or name another folder with --home",
        )


def _explained(path: Path, problem: str) -> StoreFailed:
    fixes = {
        "malformed": "move it aside and restore a copy; without one the service starts empty",
        "not a database": "move it aside; the service starts empty without it",
        "full": "make room on that disk; nothing was changed",
        "readonly": "let this account write the file and its folder",
        "unable to open": "let this account write the file and its folder",
        "locked": "another program holds it: end that program",
    }
    fix = next((fix for sign, fix in fixes.items() if sign in problem), "")
    first_line = problem.splitlines()[0]
    damaged = "damaged: " if "malformed" in problem or "not a database" in problem else ""
    return StoreFailed(f"{path}: {damaged}{first_line}", fix)
