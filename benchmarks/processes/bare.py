"""A door that answers everything with the same bytes and does nothing else: python bare.py DOOR FILE."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import grpc
import uvicorn


async def bare_grpc(body: bytes) -> None:
    async def get(_request: bytes, _context: object) -> bytes:
        return body

    handler = grpc.unary_unary_rpc_method_handler(get)
    handlers = grpc.method_handlers_generic_handler(
        "google.longrunning.Operations", {"GetOperation": handler}
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([handlers])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready 127.0.0.1:{port}", file=sys.stderr, flush=True)
    await server.wait_for_termination()


async def bare_rest(body: bytes) -> None:
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]

    async def application(_scope: object, _receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(application, "127.0.0.1", 0, lifespan="off", log_level="warning")
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"ready 127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
        await uvicorn.Server(config).serve([listener])


if __name__ == "__main__":
    door, path = sys.argv[1:]
    asyncio.run({"grpc": bare_grpc, "rest": bare_rest}[door](Path(path).read_bytes()))
