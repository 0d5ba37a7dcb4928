"""A connection to the REST door: uvicorn's, with a limit to the head of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

MAX_HEAD_BYTES = 64 * 1024
HEAD_S = 30.0


class Connection(HttpToolsProtocol):
    """Closes itself when a head is too long or too slow; nobody has shown a key by then.

    uvicorn would keep in memory whatever a stranger sends, and wait for ever for the rest.
    Inherits because uvicorn takes a class and has no option for either.
    """

    _head: asyncio.TimerHandle | None = None  # while one is awaited or on its way
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a head."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head and to nothing else: all but the piece that it begins in."""
        before = self._head
        super().data_received(data)
        if before is not None and self._head is before:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The head is longer than {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        """End a head."""
        self._end_head()
        super().on_headers_complete()

    def _begin_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._head = self.loop.call_later(HEAD_S, self._too_slow)

    def _end_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _too_slow(self) -> None:
        # A head can come while the answer to the request before it is still on its way.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
