"""The socket under the REST door: bound by us, served by uvicorn beside the gRPC door."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from tuner.errors import Unavailable
from tuner.server.access.tls import http_options, renew
from tuner.server.rest.connections import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tuner.server.access.tls import Tls

KEEP_ALIVE_S = 75  # longer than clients poll: a connection closed under them is an error there
CLOSE_S = 1


def bind(address: str) -> socket.socket:
    """Take ``host:port``; port 0 takes a free one. Nobody else can take it then.

    Raises:
        Unavailable: Somebody else listens there, or the host is not this machine's.
    """
    host, _, port = address.rpartition(":")
    try:
        listener = socket.create_server(
            (host.strip("[]"), int(port)),
            family=socket.AF_INET6 if host.startswith("[") else socket.AF_INET,
            dualstack_ipv6=host == "[::]",  # as gRPC has it
            backlog=1024,
        )
    except OSError as error:
        what = f"cannot listen on {address}: {error.strerror or error}"
        fix = "choose another port with --rest; port 0 takes a free one, off opens no REST door"
        raise Unavailable(what, fix) from error
    # Connections inherit it. asyncio does not set it on theirs, for create_server names no protocol;
    # without it a body waits 40 ms for the acknowledgement of its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address_of(listener: socket.socket, asked: str) -> str:
    """``host:port`` with the port that was taken."""
    return f"{asked.rpartition(':')[0]}:{listener.getsockname()[1]}"


@asynccontextmanager
async def serving(app: Any, listener: socket.socket, tls: Tls | None = None) -> AsyncIterator[None]:
    """Serve for the length of the block; what is still in flight at its end is cut off.

    uvicorn's own ``serve`` would take the signals, which are the service's.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=CLOSE_S,
        **(http_options(tls) if tls else {}),
    )
    config.load()
    if tls and config.ssl:
        renew(config.ssl, tls)
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    ticking = asyncio.create_task(server.main_loop())
    try:
        yield
    finally:
        server.should_exit = True
        await ticking
        await server.shutdown(sockets=[listener])
