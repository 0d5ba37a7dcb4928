"""A proxy that passes bytes on and can break every connection at once."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK = 65_536
NO_LINGER = struct.pack("ii", 1, 0)  # closing sends a reset and not a polite end


class Wires:
    """The connections through the proxy."""

    def __init__(self) -> None:
        self._open: set[asyncio.StreamWriter] = set()

    def reset(self) -> None:
        """Break all of them; new ones are let through."""
        for writer in self._open:
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER
            )
            writer.transport.abort()
        self._open.clear()

    async def join(
        self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass on what comes from either side until one of them ends."""
        upstream_reader, upstream = await asyncio.open_connection(host, port)
        self._open.add(writer)
        ways = [
            asyncio.create_task(_pass_on(reader, upstream)),
            asyncio.create_task(_pass_on(upstream_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open.discard(writer)
            for way in ways:
                way.cancel()
            for each in (upstream, writer):
                each.transport.abort()


@asynccontextmanager
async def wires_to(upstream: str) -> AsyncIterator[tuple[str, Wires]]:
    """Listen on a free port of loopback; yields ``host:port`` and what breaks the connections."""
    host, _, port = upstream.rpartition(":")
    wires = Wires()
    server = await asyncio.start_server(
        lambda reader, writer: wires.join(host, int(port), reader, writer), "127.0.0.1", 0
    )
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", wires
    finally:
        server.close()
        wires.reset()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
