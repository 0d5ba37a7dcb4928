"""A stream of messages as the body of an HTTP response, each one sent as it comes."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.server.refusals import Refused
from tuner.server.rest import http_status, json_out

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tuner.server.messages import Message
    from tuner.server.rest.transcoding import Form

    Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Framing:
    """What stands around the messages."""

    content_type: bytes
    first: bytes
    between: bytes
    each: bytes
    last: bytes


# google-api-core wants an array whose first byte is [; google-genai wants lines that begin with data:
_ARRAY = _Framing(http_status.JSON.encode(), b"[", b",\r\n", b"%s", b"]")
_EVENTS = _Framing(b"text/event-stream", b"", b"", b"data: %s\r\n\r\n", b"")


async def send_all(answers: AsyncGenerator[Message, None], form: Form, send: Send) -> None:
    """Send every message; a refusal midway is the last one, in the place of a message.

    Raises:
        Refused: Before the first message; nothing was sent.
    """
    framing = _EVENTS if form.sse else _ARRAY
    is_open = False
    try:
        async with aclosing(answers) as messages:  # to close it can raise: the service stops
            async for message in messages:
                written = json_out.dump(message, enum_numbers=form.enum_numbers)
                await _send(send, framing, written, is_open=is_open)
                is_open = True
    except Refused as refused:
        if not is_open:
            raise
        await _send(send, framing, http_status.body(refused), is_open=True)
    if not is_open:
        await _start(send, framing)
    last = framing.last if is_open else framing.first + framing.last
    await send({"type": "http.response.body", "body": last})


async def _start(send: Send, framing: _Framing) -> None:
    headers = [(b"content-type", framing.content_type)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _send(send: Send, framing: _Framing, written: bytes, *, is_open: bool) -> None:
    if not is_open:
        await _start(send, framing)
    body = (framing.between if is_open else framing.first) + framing.each % written
    await send({"type": "http.response.body", "body": body, "more_body": True})
