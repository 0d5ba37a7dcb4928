"""An open database: connections that read, one that writes, and what its failures mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from tuner.errors import TunerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine


class StoreFailed(TunerError):
    """The database is damaged, full, locked, out of reach or from another version."""

    exit_code = 5


class StoreTaken(StoreFailed):
    """Another service has this database."""


@dataclass(frozen=True, slots=True)
class Database:
    """One of the kinds of database, open.

    Attributes:
        name: What to call it in front of a user: a path or a URL, never with a password.
        reader: Its transactions see one moment and change nothing.
        writer: Its transactions come one after the other, whoever begins them.
        explain: What an error of the driver means, and what to do about it.
    """

    name: str
    reader: Engine
    writer: Engine
    explain: Callable[[DBAPIError], StoreFailed]

    def run(self, engine: Engine, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Do ``work(connection, ...)`` in one transaction of ``engine``. Raises StoreFailed."""
        try:
            with engine.connect() as connection, connection.begin():
                return work(connection, *args, **kwargs)
        except DBAPIError as error:
            raise self.explain(error) from error

    def close(self) -> None:
        """Let go of every connection."""
        self.reader.dispose()
        self.writer.dispose()
