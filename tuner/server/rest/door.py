"""The REST door: HTTP in, the handlers' answers or a google.rpc.Status as JSON out.

One plain ASGI application over the same table of methods as the gRPC door.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tuner.server import calls
from tuner.server.access.limits import Limits, too_large
from tuner.server.calls import Call
from tuner.server.refusals import Code, Refused
from tuner.server.rest import http_status, json_in, json_out, openapi, routes, streams, watching
from tuner.server.rest.transcoding import credentials, query, request
from tuner.server.rest.transcoding import form as read_form

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tuner.server.messages import Message
    from tuner.server.rest.routes import Route
    from tuner.server.rest.transcoding import Form, Query
    from tuner.server.service import Service

    Scope = dict[str, Any]
    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGE_BODY_BYTES = 64 * 1024  # from here on a body is read in a thread: the loop has other calls
LARGE_ANSWER_BYTES = 8 * 1024  # as a message; likewise
MAX_URL_BYTES = 16 * 1024
ENDPOINTS = {
    "/healthz": watching.healthz,
    "/metrics": watching.metrics_page,
    "/openapi.json": openapi.page,
}


def new_app(service: Service) -> App:
    """The ASGI application of a service."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await _respond(service, scope, receive, send)
        except Refused as refused:
            status, body = http_status.status(refused), http_status.body(refused)
            await _send(send, status, http_status.JSON, body, http_status.headers(refused))

    return app


async def _respond(service: Service, scope: Scope, receive: Receive, send: Send) -> None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
        what = f"The URL is longer than {MAX_URL_BYTES} bytes."
        raise Refused(Code.INVALID_ARGUMENT, what, "URL_TOO_LONG")
    verb = "GET" if scope["method"] == "HEAD" else scope["method"]
    endpoint = ENDPOINTS.get(scope["path"])
    if endpoint is not None and verb == "GET":
        await _send(send, *await endpoint(service))
    elif verb == "OPTIONS":
        allowed = ["OPTIONS", *routes.verbs(scope["raw_path"].decode())]
        await _send(send, 204, "", b"", [("allow", ", ".join(allowed))])
    else:
        route, segments = routes.find(verb, scope["raw_path"].decode())
        await _answer(service, route, segments, (scope, receive, send))


async def _answer(
    service: Service, route: Route, segments: tuple[str, ...], door: tuple[Scope, Receive, Send]
) -> None:
    scope, receive, send = door
    parameters = query(scope["query_string"])
    form = read_form(parameters)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    watch: list[asyncio.Task[None]] = []

    async def read() -> Message:
        if not route.body:
            return request(route, segments, parameters, None)
        body = await _body(receive, headers, service.limits)
        watch.append(asyncio.create_task(_hung_up(receive, asyncio.current_task())))
        if len(body) < LARGE_BODY_BYTES:
            return _read(route, segments, parameters, body)
        return await asyncio.to_thread(_read, route, segments, parameters, body)

    call = Call(route.method, credentials(parameters) | headers, read)
    try:
        if route.method.streams:
            await streams.send_all(calls.answers(service, call), form, send)
        else:
            body = await _written(await calls.answer(service, call), form)
            await _send(send, 200, http_status.JSON, body)
    except asyncio.CancelledError:
        if not watch or not watch[0].done():
            raise  # not by a caller who hung up
    finally:
        for each in watch:
            each.cancel()


def _read(route: Route, segments: tuple[str, ...], parameters: Query, body: bytes) -> Message:
    return request(route, segments, parameters, json_in.parse(body))


async def _written(message: Message, form: Form) -> bytes:
    if message.ByteSize() < LARGE_ANSWER_BYTES:
        return json_out.dump(message, enum_numbers=form.enum_numbers)
    return await asyncio.to_thread(json_out.dump, message, enum_numbers=form.enum_numbers)


async def _body(receive: Receive, headers: dict[str, str], limits: Limits) -> bytes:
    coding = headers.get("content-encoding", "identity")
    if coding != "identity":
        what = f"content-encoding: {coding} is not read here; send the body as it is."
        raise Refused(Code.INVALID_ARGUMENT, what, "CONTENT_ENCODING")
    announced = headers.get("content-length", "")
    size = int(announced) if announced.isdigit() else 0
    body, more = bytearray(), True
    while more and max(size, len(body)) <= limits.message_bytes:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Refused(Code.CANCELLED, "The caller hung up in the middle.", "HUNG_UP")
        body += event["body"]
        more = event["more_body"]
    if more or len(body) > limits.message_bytes:
        raise too_large(size or None, limits)
    return bytes(body)


async def _hung_up(receive: Receive, call: asyncio.Task[Any] | None) -> None:
    """Cancel a call whose caller is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if call is not None:
        call.cancel()


async def _send(
    send: Send,
    status: int,
    content_type: str,
    body: bytes,
    headers: Iterable[tuple[str, str]] = (),
) -> None:
    about = [("content-type", content_type), ("content-length", str(len(body)))] if body else []
    pairs = [(name.encode(), value.encode()) for name, value in (*about, *headers)]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
