"""What many jobs write into one file in one moment, written once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.errors import TunerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Write = Callable[[Path, Mapping[str, Any]], None]

REST = 4
"""After a write so many times its length passes before the next: a fifth of the time is the most."""


class _Burst(NamedTuple):
    entries: dict[str, Any]
    done: asyncio.Future[None]


class Bursts:
    """Of one event loop: the first entry is written in this turn of it, those behind it together."""

    def __init__(self, write: Write) -> None:
        """``write`` puts entries, by name, into the file of a folder; it may raise TunerError."""
        self._write = write
        self._waiting: dict[Path, _Burst] = {}
        self._free_at: dict[Path, float] = {}

    async def put(self, folder: Path, name: str, entry: Any) -> None:
        """Return once the entry is written; who is cancelled meanwhile writes what waits at once.

        Raises:
            TunerError: It could not be written, nor what was to be written with it.
        """
        loop = asyncio.get_running_loop()
        burst = self._waiting.get(folder)
        if burst is None:
            burst = self._waiting[folder] = _Burst({}, loop.create_future())
            loop.call_at(self._free_at.get(folder, 0.0), self._flush, folder, loop)
        burst.entries[name] = entry
        try:
            await asyncio.shield(burst.done)
        except asyncio.CancelledError:
            self._flush(folder, loop)
            raise

    def _flush(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        burst = self._waiting.pop(folder, None)
        if burst is None:
            return
        began = loop.time()
        try:
            self._write(folder, burst.entries)
        except TunerError as error:
            burst.done.set_exception(error)
            burst.done.exception()  # it is no news when nobody waits any more
        else:
            burst.done.set_result(None)
        now = loop.time()
        self._free_at[folder] = now + REST * (now - began)
