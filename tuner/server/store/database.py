"""The database behind the service: opened, read and changed.

SQL stands in functions ``f(connection, ...)`` in the files beside this one; they run here, in a
thread, each in one transaction.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from tuner.server import telemetry
from tuner.server.store import schema
from tuner.server.store.connections import StoreFailed, StoreTaken
from tuner.server.store.memory import Memory
from tuner.server.store.sqlite import open_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from tuner.server.store.connections import Database

__all__ = ["Store", "StoreFailed", "StoreTaken", "Topic", "Transaction", "open_store"]

READERS = 4

P = ParamSpec("P")
T = TypeVar("T")
Transaction: TypeAlias = "Connection"
"""What a function that the store runs gets first, for those outside who write one."""


def open_store(folder: Path, database: str | None = None, *, alone: bool = False) -> Store:
    """The database of the service in ``folder``, its tables brought to this version.

    Args:
        folder: Where the weights are, and the SQLite file; made when missing.
        database: ``postgresql://...``; None is SQLite in the folder.
        alone: Refuse a PostgreSQL database that another service uses; a folder has a lock for that.

    Raises:
        InvalidInput: ``database`` is no such URL.
        StoreFailed: It cannot be used.
    """
    if database is None:
        opened = open_sqlite(folder / "service.db", alone=alone)
    else:
        from tuner.server.store.postgresql import open_postgresql

        opened = open_postgresql(database, alone=alone)
    try:
        is_own = database is None
        name = opened.run(opened.writer, schema.claim_folder, folder, is_own=is_own)
    except StoreFailed:
        opened.close()
        raise
    return Store(opened, folder / name)


class Store:
    """Reads run side by side, writes one after the other.

    Attributes:
        name: The file or the URL, without a password.
        tunings: The folder of the weights that belong to this database.
    """

    def __init__(self, database: Database, tunings: Path) -> None:
        self._database = database
        self.name = database.name
        self.tunings = tunings
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._memory = Memory()
        self._changed = asyncio.Event()
        self._taken: StoreTaken | None = None
        self._is_taken = asyncio.Event()

    def run(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Change something, here and now: for those without an event loop."""
        done: T = self._database.run(self._database.writer, work, *args, **kwargs)
        return done

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read, as of one moment."""
        run, engine = self._database.run, self._database.reader
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: run(engine, work, *args, **kwargs))

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Change something, whatever it is about: nothing is remembered after it."""
        return await self.about("").write(work, *args, **kwargs)

    async def recall(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read from memory, which every write empties and nothing outlives by a second."""
        return await self.about("").recall(work, *args, **kwargs)

    def about(self, subject: str) -> Topic:
        """The same for one subject, a tuned model's name: writes about others disturb no memory of it."""
        return Topic(self, self._memory, subject)

    async def change(self, subject: str, write: Callable[[], T]) -> T:
        """Run a write after those asked for before, even if the caller is cancelled meanwhile."""
        started = time.monotonic()
        future = asyncio.get_running_loop().run_in_executor(self._writer, write)
        future.add_done_callback(lambda done: self._note(subject, done))
        future.add_done_callback(lambda _: telemetry.observe_write(time.monotonic() - started))
        return await asyncio.shield(future)

    async def changed(self, timeout_s: float) -> None:
        """Wait for the next write, or for the time to pass."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return

    async def until_taken(self) -> None:
        """Wait, for ever if all is well, for the moment to leave.

        Raises:
            StoreTaken: We lost the database for a while, and another service has it now.
        """
        await self._is_taken.wait()
        if self._taken:
            raise self._taken

    def close(self) -> None:
        """Finish what was asked for, then let go of the database."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._database.close()

    def _note(self, subject: str, done: asyncio.Future[Any]) -> None:
        self._memory.forget(subject)
        self._changed.set()
        self._changed = asyncio.Event()
        error = None if done.cancelled() else done.exception()
        if isinstance(error, StoreTaken):
            self._taken = error
            self._is_taken.set()


@dataclass(frozen=True, slots=True)
class Topic:
    """The store, as far as one subject goes."""

    _store: Store
    _memory: Memory
    _subject: str

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Change something. Once asked for it happens, even if the caller is cancelled meanwhile."""
        run = self._store.run
        return await self._store.change(self._subject, lambda: run(work, *args, **kwargs))

    async def recall(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read from memory what was read within a second, and before no write about the subject.

        The second is for other processes: ``tuner keys`` changes the same database.
        """
        question = (work, args, *kwargs.items())
        answer: T = await self._memory.recall(
            self._subject, question, lambda: self._store.read(work, *args, **kwargs)
        )
        return answer

    async def follow(
        self,
        work: Callable[Concatenate[Connection, T | None, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Read from memory what only this process changes, for however long it did not.

        The second argument of ``work`` is its last answer or None: it need read only what is new.
        """

        async def ask(before: Any) -> Any:
            return await self._store.read(work, before, *args, **kwargs)

        question = (work, args, *kwargs.items())
        answer: T = await self._memory.follow(self._subject, question, ask)
        return answer
