"""Transactions on the service's database, with a cache of what was read.

The SQL is in functions ``f(connection, ...)`` of the other modules of this package. Each runs here in
one transaction, in a thread.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, TypeVarTuple

from sqlalchemy.exc import DBAPIError

from tuner.errors import TunerError
from tuner.server import telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from pathlib import Path

    from sqlalchemy import Connection, Engine

READER_THREADS = 4
CACHE_S = 1.0

Args = TypeVarTuple("Args")
T = TypeVar("T")
Transaction: TypeAlias = "Connection"
"""The first argument of every function that the store runs."""


class StoreFailed(TunerError):
    """The database is damaged, full, locked, out of reach or from another version."""

    exit_code = 5


class StoreInUse(StoreFailed):
    """Another service uses this database."""


@dataclass(frozen=True, slots=True)
class Database:
    """An open SQLite or PostgreSQL database.

    Attributes:
        name: A path or a URL without its password, for messages.
        reader: Engine of read-only transactions, each on one snapshot of the data.
        writer: Engine of write transactions, one at a time across all processes.
        explain: Turns an error of the driver into one with a fix.
    """

    name: str
    reader: Engine
    writer: Engine
    explain: Callable[[DBAPIError], StoreFailed]

    def run(self, engine: Engine, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run ``work(connection, ...)`` in one transaction of ``engine``. Raises StoreFailed."""
        try:
            with engine.connect() as connection, connection.begin():
                return work(connection, *args, **kwargs)
        except DBAPIError as error:
            raise self.explain(error) from error

    def close(self) -> None:
        """Close every connection."""
        self.reader.dispose()
        self.writer.dispose()


class Store:
    """Runs reads concurrently and writes one after the other.

    Attributes:
        name: The file or the URL, without a password.
        tunings: The folder of the weights that belong to this database.
    """

    def __init__(self, database: Database, tunings: Path) -> None:
        self._database = database
        self.name = database.name
        self.tunings = tunings
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="store-reader")
        self._cache = ReadCache()
        self._changed = asyncio.Event()
        self._lost: asyncio.Queue[StoreInUse] = asyncio.Queue()

    def run(self, work: Callable[[Connection, *Args], T], *args: *Args) -> T:
        """Run a write transaction in this thread, for callers without an event loop."""
        result: T = self._database.run(self._database.writer, work, *args)
        return result

    async def read(self, work: Callable[[Connection, *Args], T], *args: *Args) -> T:
        """Run a read-only transaction."""
        run, loop = self._database.run, asyncio.get_running_loop()
        result: T = await loop.run_in_executor(
            self._readers, lambda: run(self._database.reader, work, *args)
        )
        return result

    async def write(
        self, work: Callable[[Connection, *Args], T], *args: *Args, topic: str = ""
    ) -> T:
        """Run a write transaction; it is completed even if the caller is cancelled meanwhile.

        Drops what is cached about ``topic``, usually a tuned model's name, or everything.
        """
        started, loop = time.monotonic(), asyncio.get_running_loop()
        future = loop.run_in_executor(self._writer, lambda: self.run(work, *args))
        future.add_done_callback(lambda done: self._note_write(topic, started, done))
        return await asyncio.shield(future)

    async def read_cached(
        self, work: Callable[[Connection, *Args], T], *args: *Args, topic: str = ""
    ) -> T:
        """Return what was read within the last second, unless there was a write about ``topic``.

        It expires because other processes, such as ``tuner keys``, change the same database.
        """
        key = (work, args)
        result: T = await self._cache.get(topic, key, lambda: self.read(work, *args))
        return result

    async def wait_for_write(self, timeout_s: float) -> None:
        """Return after the next write, or after ``timeout_s``."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return

    async def wait_until_lost(self) -> None:
        """Wait until another service has taken the database; normally never returns.

        Raises:
            StoreInUse: Our connection broke, and another service uses the database now.
        """
        raise await self._lost.get()

    def close(self) -> None:
        """Complete queued writes, then close the database."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._database.close()

    def _note_write(self, topic: str, started: float, done: asyncio.Future[Any]) -> None:
        self._cache.invalidate(topic)
        self._changed.set()
        self._changed = asyncio.Event()
        telemetry.observe_write(time.monotonic() - started)
        error = None if done.cancelled() else done.exception()
        if isinstance(error, StoreInUse):
            self._lost.put_nowait(error)


class ReadCache:
    """Results of reads by topic, until the topic is invalidated; the topic ``""`` is everything.

    Concurrent requests for one key share one read. Belongs to one event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._recent: dict[str, dict[Hashable, asyncio.Task[Any]]] = {}

    async def get(
        self, topic: str, key: Hashable, read: Callable[[], Coroutine[Any, Any, Any]]
    ) -> Any:
        """Return a result that is at most ``CACHE_S`` old."""
        now = self._clock()
        if now - self._since >= CACHE_S:
            self._recent, self._since = {}, now
        known = self._recent.setdefault(topic, {})
        task = known.get(key)
        if task is None or _has_failed(task):
            task = known[key] = asyncio.create_task(read())
            task.add_done_callback(_has_failed)  # retrieves the error if every caller is cancelled
        return task.result() if task.done() else await asyncio.shield(task)

    def invalidate(self, topic: str) -> None:
        """Drop cached results of a topic, and those of reads in progress."""
        if topic:
            self._recent.pop(topic, None)
            self._recent.pop("", None)
        else:
            self._recent = {}


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
