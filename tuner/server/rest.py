"""The REST server: a Starlette application on uvicorn.

All paths of Google's API go through one ASGI endpoint, which looks up the route in a table.
"""

from __future__ import annotations

import asyncio
import math
import socket
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route as Page
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tuner.errors import Unavailable
from tuner.server import openapi, protojson, telemetry
from tuner.server.api_errors import ApiError, Code, to_status
from tuner.server.methods import Call, call, call_stream
from tuner.server.routes import allowed_verbs, build_request, find_route, parse_query
from tuner.server.service import too_large
from tuner.server.store import operations
from tuner.server.store.database import StoreFailed
from tuner.server.tls import RenewalWatcher

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from starlette.types import Receive, Scope, Send

    from tuner.server.messages import Message
    from tuner.server.routes import Query, Route
    from tuner.server.service import Service
    from tuner.server.tls import Tls

JSON = "application/json; charset=UTF-8"
THREAD_BODY_BYTES = 64 * 1024  # larger bodies are parsed in a thread: the loop has other calls
THREAD_ANSWER_BYTES = 8 * 1024  # likewise, the size of the message
MAX_URL_BYTES = 16 * 1024
MAX_HEADERS_BYTES = 64 * 1024
HEADERS_TIMEOUT_S = 30.0
KEEP_ALIVE_S = 75  # longer than clients poll: a connection closed under them is an error there
CLOSE_S = 1
# As google/rpc/code.proto says; google-api-core chooses the exception by it alone.
HTTP_STATUS = {
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


def new_app(service: Service) -> Starlette:
    """Return the ASGI application of a service."""

    async def health(_request: Request) -> Response:
        problem = await service.health_problem()
        return PlainTextResponse(f"{problem or 'ok'}\n", 503 if problem else 200)

    async def metrics(_request: Request) -> Response:
        try:
            counts = await service.store.read(operations.counts, service.now_ms)
        except StoreFailed:
            counts = {}  # the other metrics matter most when the database fails
        page = telemetry.metrics_page(service.calls.in_flight, counts)
        return Response(page, headers={"content-type": telemetry.METRICS_CONTENT_TYPE})

    async def description(_request: Request) -> Response:
        return Response(openapi.document_json(), media_type="application/json")

    pages = [
        Page("/healthz", health),
        Page("/metrics", metrics),
        Page("/openapi.json", description),
    ]

    async def unknown_path(request: Request, _error: HTTPException) -> Response:
        what = f"{request.method} {request.url.path} is not found."
        return await _error_response(request, ApiError(Code.NOT_FOUND, what, "NO_ROUTE"))

    handlers: Any = {ApiError: _error_response, HTTPException: unknown_path}
    app = Starlette(routes=pages, exception_handlers=handlers)
    app.router.redirect_slashes = False
    app.router.default = _GoogleApi(service)
    return app


class _GoogleApi:
    """The ASGI endpoint of all methods."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path, verb = scope["raw_path"], scope["method"]
        if len(raw_path) + len(scope["query_string"]) > MAX_URL_BYTES:
            what = f"The URL is longer than {MAX_URL_BYTES} bytes."
            raise ApiError(Code.INVALID_ARGUMENT, what, "URL_TOO_LONG")
        if verb == "OPTIONS":
            allow = ", ".join(["OPTIONS", *allowed_verbs(raw_path.decode())])
            await Response(status_code=204, headers={"allow": allow})(scope, receive, send)
            return
        found = find_route("GET" if verb == "HEAD" else verb, raw_path.decode())
        await self._answer(*found, scope, receive, send)

    async def _answer(
        self, route: Route, segments: tuple[str, ...], scope: Scope, receive: Receive, send: Send
    ) -> None:
        request = Request(scope, receive)
        query = parse_query(scope["query_string"])
        answer_format = parse_format(query)
        headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        hang_up: asyncio.Task[None] | None = None

        async def read() -> Message:
            nonlocal hang_up
            if not route.body:
                return build_request(route, segments, query, None)
            body = await _read_body(request, self._service)
            hang_up = asyncio.create_task(_cancel_on_hang_up(receive, asyncio.current_task()))
            if len(body) < THREAD_BODY_BYTES:
                return _parse(route, segments, query, body)
            return await asyncio.to_thread(_parse, route, segments, query, body)

        one = Call(route.method, dict(_keys_in_query(query)) | headers, read)
        try:
            if route.method.streams:
                await _send_stream(call_stream(self._service, one), answer_format, send)
            else:
                content = await _serialize(await call(self._service, one), answer_format)
                await Response(content, media_type=JSON)(scope, receive, send)
        except asyncio.CancelledError:
            if hang_up is None or not hang_up.done():
                raise
        finally:
            if hang_up is not None:
                hang_up.cancel()


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """How an answer is written: ``sse`` streams server-sent events instead of one JSON array."""

    sse: bool
    enum_numbers: bool


def parse_format(query: Query) -> AnswerFormat:
    """Return the format of ``alt`` or ``$alt``, as in ``$alt=json;enum-encoding=int``."""
    values = [value for name, value in query if name in {"alt", "$alt"}]
    kind, *options = values[-1].lower().split(";") if values else ["json"]
    if kind not in {"json", "sse"}:
        what = f"alt={kind}: answers are json, or sse for a stream."
        raise ApiError(Code.INVALID_ARGUMENT, what, "INVALID_QUERY")
    return AnswerFormat(kind == "sse", "enum-encoding=int" in options)


def _keys_in_query(query: Query) -> Iterator[tuple[str, str]]:
    """Yield ``key`` and ``access_token`` as the headers that mean the same."""
    for name, value in query:
        if name == "key":
            yield "x-goog-api-key", value
        elif name == "access_token":
            yield "authorization", f"Bearer {value}"


async def _read_body(request: Request, service: Service) -> bytes:
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        what = f"content-encoding: {coding} is not supported; send the body uncompressed."
        raise ApiError(Code.INVALID_ARGUMENT, what, "CONTENT_ENCODING")
    announced = request.headers.get("content-length", "")
    size = int(announced) if announced.isdigit() else 0
    max_bytes = service.limits.message_bytes
    body = bytearray()
    if size > max_bytes:
        raise too_large(size, service.limits)
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise too_large(None, service.limits)
    except ClientDisconnect as error:
        text = "The client closed the connection within the body."
        raise ApiError(Code.CANCELLED, text, "HUNG_UP") from error
    return bytes(body)


def _parse(route: Route, segments: tuple[str, ...], query: Query, body: bytes) -> Message:
    return build_request(route, segments, query, protojson.parse(body))


async def _serialize(message: Message, answer_format: AnswerFormat) -> bytes:
    enum_numbers = answer_format.enum_numbers
    if message.ByteSize() < THREAD_ANSWER_BYTES:
        return protojson.dump(message, enum_numbers=enum_numbers)
    return await asyncio.to_thread(protojson.dump, message, enum_numbers=enum_numbers)


async def _cancel_on_hang_up(receive: Receive, task: asyncio.Task[Any] | None) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if task is not None:
        task.cancel()


async def _send_stream(
    messages: AsyncGenerator[Message, None], answer_format: AnswerFormat, send: Send
) -> None:
    """Send each message as it comes; an error after the first one takes the place of a message.

    StreamingResponse cannot be used: once cancelled it cannot send that error. Raises ApiError.
    """
    # google-api-core expects an array whose first byte is [; google-genai expects lines of data.
    before, between, after, media_type = b"[", b",\r\n", b"", JSON
    if answer_format.sse:
        before, between, after, media_type = b"data: ", b"data: ", b"\r\n\r\n", "text/event-stream"
    headers = [(b"content-type", media_type.encode())]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    is_started = False

    async def write(content: bytes) -> None:
        nonlocal is_started
        if not is_started:
            await send(start)
        body = (between if is_started else before) + content + after
        is_started = True
        await send({"type": "http.response.body", "body": body, "more_body": True})

    try:
        async with aclosing(messages):  # closing may raise at shutdown
            async for message in messages:
                await write(protojson.dump(message, enum_numbers=answer_format.enum_numbers))
    except ApiError as error:
        if not is_started:
            raise
        await write(_error_body(error))
    if not is_started:
        await send(start)
    last = b"" if answer_format.sse else b"]" if is_started else b"[]"
    await send({"type": "http.response.body", "body": last})


async def _error_response(_request: Request, error: ApiError) -> Response:
    headers = {"content-type": JSON}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    return Response(_error_body(error), HTTP_STATUS[error.code], headers)


def _error_body(error: ApiError) -> bytes:
    status = {
        "code": HTTP_STATUS[error.code],
        "message": error.message,
        "status": error.code.name,
        "details": protojson.to_plain(to_status(error))["details"],
    }
    return orjson.dumps({"error": status})


@asynccontextmanager
async def serving(app: Any, address: str, tls: Tls | None = None) -> AsyncIterator[str]:
    """Serve on ``host:port`` for the length of the block, and yield it with the actual port.

    What is in flight at the end is cut off. Raises Unavailable.
    """
    listener = _bind(address)
    server = uvicorn.Server(_uvicorn_config(app, tls))
    server.lifespan = server.config.lifespan_class(server.config)
    # Not server.serve(): it would take over the signals, which are the service's.
    await server.startup(sockets=[listener])
    loop = asyncio.create_task(server.main_loop())
    try:
        yield f"{address.rpartition(':')[0]}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await loop
        await server.shutdown(sockets=[listener])


def _bind(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        listener = socket.create_server(
            (host.strip("[]"), int(port)),
            family=socket.AF_INET6 if host.startswith("[") else socket.AF_INET,
            dualstack_ipv6=host == "[::]",  # as gRPC does
            backlog=1024,
        )
    except OSError as error:
        what = f"cannot listen on {address}: {error.strerror or error}"
        fix = "choose another port with --rest; port 0 takes a free one, off serves no REST"
        raise Unavailable(what, fix) from error
    # asyncio does not set it, because create_server names no protocol. Connections inherit it.
    # Without it a body waits 40 ms for the acknowledgement of its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _uvicorn_config(app: Any, tls: Tls | None) -> uvicorn.Config:
    options: dict[str, Any] = {}
    if tls:
        options = {"ssl_certfile": str(tls.certificate), "ssl_keyfile": str(tls.key)}
    if tls and tls.client_ca:
        options |= {"ssl_ca_certs": str(tls.client_ca), "ssl_cert_reqs": 2}  # ssl.CERT_REQUIRED
    config = uvicorn.Config(
        app,
        http=_LimitedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=CLOSE_S,
        **options,
    )
    config.load()
    if tls and config.ssl:
        context, watcher = config.ssl, RenewalWatcher(tls)

        def reload(*_: object) -> None:  # at each handshake; the next one gets the new certificate
            if watcher.is_renewed():
                context.load_cert_chain(tls.certificate, tls.key)

        context.sni_callback = reload
    return config


class _LimitedConnection(HttpToolsProtocol):
    """uvicorn's connection, closed when the headers of a request are too long or too slow.

    uvicorn has no option for either limit.
    """

    _headers_timer: asyncio.TimerHandle | None = None
    _headers_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_headers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # The chunk in which the headers begin is not counted.
        before = self._headers_timer
        super().data_received(data)
        if before is not None and self._headers_timer is before:
            self._headers_bytes += len(data)
            if self._headers_bytes > MAX_HEADERS_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The headers are longer than {MAX_HEADERS_BYTES} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._start_headers()

    def on_headers_complete(self) -> None:
        self._end_headers()
        super().on_headers_complete()

    def _start_headers(self) -> None:
        self._end_headers()
        self._headers_bytes = 0
        self._headers_timer = self.loop.call_later(HEADERS_TIMEOUT_S, self._on_timeout)

    def _end_headers(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def _on_timeout(self) -> None:
        # The next request's headers may come while the previous response is still being sent.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
