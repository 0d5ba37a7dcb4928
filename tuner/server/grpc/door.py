"""The gRPC door: bytes in, the handlers' answers or a google.rpc.Status out.

Google's package ships clients and messages but no servicer classes, so methods are looked up in
our own table.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from tuner.errors import Unavailable
from tuner.server import calls
from tuner.server.access.limits import too_large
from tuner.server.access.tls import grpc_credentials
from tuner.server.calls import Call
from tuner.server.grpc import health, reflection
from tuner.server.methods import METHODS, Method, why_not
from tuner.server.refusals import Code, Refused, to_status

if TYPE_CHECKING:
    from tuner.server.access.tls import Tls
    from tuner.server.messages import Message
    from tuner.server.service import Service

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # else two services could share a port and neither would notice
]
_STATUS = {code.value[0]: code for code in grpc.StatusCode}


class Door:
    """Finds the handler of a method, as grpc asks for it."""

    def __init__(self, service: Service) -> None:
        """Make every handler once: a lookup is all a call costs here."""
        ours = {f"/{name}": _handler(service, each) for name, each in METHODS.items()}
        self._handlers = {**ours, **health.handlers(service), **reflection.handlers()}

    def service(self, details: Any) -> Any:
        """The handler for ``details.method``, ``/package.Service/Method``."""
        return self._handlers.get(details.method) or _unimplemented(details.method)


def new_server(service: Service) -> Any:
    """A grpc.aio server that listens nowhere yet."""
    # gRPC itself says no without details: what is a little too large comes through to be told.
    most = ("grpc.max_receive_message_length", 2 * service.limits.message_bytes)
    server = grpc.aio.server(options=[*_OPTIONS, most])
    server.add_generic_rpc_handlers([Door(service)])
    return server


def bind(server: Any, address: str, tls: Tls | None = None) -> str:
    """Listen on ``host:port``; the answer has the port that was taken where 0 was asked for.

    Raises:
        Unavailable: Somebody else listens there, or the host is not this machine's.
    """
    try:
        port = (
            server.add_secure_port(address, grpc_credentials(tls))
            if tls
            else server.add_insecure_port(address)
        )
    except RuntimeError as error:
        what = f"cannot listen on {address}: another program does, or it is not this machine's"
        raise Unavailable(
            what, "choose another port with --grpc; port 0 takes a free one"
        ) from error
    return f"{address.rpartition(':')[0]}:{port}"


def _handler(service: Service, method: Method) -> Any:
    if method.streams:
        return grpc.unary_stream_rpc_method_handler(
            _stream(service, method), response_serializer=_bytes
        )
    return grpc.unary_unary_rpc_method_handler(_unary(service, method), response_serializer=_bytes)


def _unary(service: Service, method: Method) -> Any:
    async def handle(body: bytes, context: Any) -> Message:
        try:
            return await calls.answer(service, _call(service, method, body, context))
        except Refused as refused:
            await _abort(context, refused)

    return handle


def _stream(service: Service, method: Method) -> Any:
    # Writes, in place of yielding: when the service ends the cancellation has to arrive here.
    async def handle(body: bytes, context: Any) -> None:
        try:
            async with aclosing(
                calls.answers(service, _call(service, method, body, context))
            ) as answers:
                async for each in answers:
                    await context.write(each)
        except Refused as refused:
            await _abort(context, refused)

    return handle


def _unimplemented(path: str) -> Any:
    refused = Refused(Code.UNIMPLEMENTED, why_not(path.removeprefix("/")), "NOT_OFFERED")

    async def handle(_requests: Any, context: Any) -> None:
        await _abort(context, refused)

    return grpc.stream_stream_rpc_method_handler(handle)


async def _abort(context: Any, refused: Refused) -> NoReturn:
    status = to_status(refused)
    details = ("grpc-status-details-bin", status.SerializeToString())
    await context.abort(_STATUS[status.code], status.message, (details,))
    raise AssertionError("abort returned")  # it raises


def _call(service: Service, method: Method, body: bytes, context: Any) -> Call:
    pairs = context.invocation_metadata() or ()
    metadata = {key: value for key, value in pairs if isinstance(value, str)}

    async def read() -> Message:
        if len(body) > service.limits.message_bytes:
            raise too_large(len(body), service.limits)
        try:
            return method.request.FromString(body)
        except DecodeError as error:
            text = f"The body is no {method.request.DESCRIPTOR.full_name}."
            raise Refused(Code.INVALID_ARGUMENT, text, "NOT_A_MESSAGE") from error

    return Call(method, metadata, read)


def _bytes(message: Message) -> bytes:
    return bytes(message.SerializeToString())
