"""REST without a socket: requests to the ASGI application, and all that it sends back."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from tests.server.room import open_room
from tuner.server.rest import new_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.engine import FakeEngine
    from tests.server.room import Room


HI = {"contents": [{"parts": [{"text": "one two three"}]}]}


@dataclass
class Response:
    """The answer; ``chunks`` as they were sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> Any:
        assert self.headers["content-type"].startswith("application/json")
        error = self.json["error"]
        assert error["code"] == self.status
        return error


async def ask(  # noqa: PLR0913  (a request has many parts)
    service: Any,
    verb: str,
    url: str,
    body: Any = b"",
    *,
    hang_up: asyncio.Event | None = None,
    on_chunk: Any = None,
    **headers: str,
) -> Response:
    """Send a request; ``hang_up`` ends the connection, ``on_chunk`` gets every chunk that is sent."""
    path, _, query = url.partition("?")
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    scope = {
        "type": "http",
        "method": verb,
        "path": path,
        "raw_path": quote(path, safe="/:%").encode(),
        "query_string": query.encode(),
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
    }
    events = [{"type": "http.request", "body": sent, "more_body": False}]
    response = Response()

    async def receive() -> dict[str, Any]:
        if events:
            return events.pop(0)
        await (hang_up or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            response.status = event["status"]
            response.headers = {k.decode(): v.decode() for k, v in event["headers"]}
        else:
            response.chunks.append(event["body"])
            if on_chunk is not None:
                await on_chunk(event["body"])

    await new_app(service)(scope, receive, send)
    return response


@asynccontextmanager
async def rest_service(
    folder: Path, engine: FakeEngine | None = None
) -> AsyncIterator[tuple[Room, Any]]:
    """Yield a service and a function that sends requests to it like ``ask``."""
    async with open_room(folder, engine) as room:

        async def call(verb: str, url: str, body: Any = b"", **rest: Any) -> Response:
            return await ask(room.service, verb, url, body, **rest)

        yield room, call
