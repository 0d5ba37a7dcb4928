"""Transactions that many jobs want in one moment, made one, so that they wait for the disk once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from tuner.errors import Superseded

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from tuner.jobs.ledger.store import Store

    Change = Callable[[sqlite3.Connection], Any]

T = TypeVar("T")


class Commits:
    """Changes of a ledger that are asked for in one turn of the event loop, committed together."""

    def __init__(self, store: Store) -> None:
        """Nothing waits yet."""
        self._store = store
        self._waiting: list[tuple[Change, asyncio.Future[Any]]] = []

    async def made(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """What ``change`` returns, once it is on the disk; it is made even if nobody waits any more.

        Raises:
            Superseded: ``change`` did, before it wrote anything; the others' are made.
            TunerError: The ledger cannot be used; nothing of any of them is written.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._commit)
        self._waiting.append((change, done))
        return await done

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            with self._store.transaction() as db:
                results = [_tried(change, db) for change, _ in waiting]
        except BaseException as error:  # noqa: BLE001 -- it is raised again where it is awaited
            results = [error] * len(waiting)
        for (_, done), result in zip(waiting, results, strict=True):
            if done.done():
                continue
            if isinstance(result, BaseException):
                done.set_exception(result)
            else:
                done.set_result(result)


def _tried(change: Change, db: sqlite3.Connection) -> Any:
    try:
        return change(db)
    except Superseded as error:
        return error
