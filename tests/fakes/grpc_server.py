"""A real gRPC server that answers every method with what a test has put there."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import any_pb2
from google.rpc import status_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

V1BETA = "google.ai.generativelanguage.v1beta"
METHODS = {
    f"{V1BETA}.ModelService": (
        "GetModel",
        "ListModels",
        "CreateTunedModel",
        "GetTunedModel",
        "ListTunedModels",
        "UpdateTunedModel",
        "DeleteTunedModel",
    ),
    f"{V1BETA}.PermissionService": (
        "CreatePermission",
        "ListPermissions",
        "UpdatePermission",
        "DeletePermission",
        "TransferOwnership",
    ),
    f"{V1BETA}.GenerativeService": ("GenerateContent",),
    "google.longrunning.Operations": ("GetOperation", "ListOperations", "CancelOperation"),
}


@dataclass(frozen=True)
class Refusal:
    """A status code, its message, and details as messages of google.rpc."""

    code: grpc.StatusCode
    message: str = "the service says no"
    details: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Call:
    """What arrived: the method's name, the raw request, the metadata."""

    method: str
    request: bytes
    metadata: dict[str, str]


@dataclass
class Script:
    """Answers by method, used up in order; the last one stays. A list is a stream.

    ``calls`` is every call that arrived.
    """

    answers: dict[str, list[Any]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def count(self, method: str) -> int:
        """How often a method was called."""
        return sum(call.method == method for call in self.calls)

    def next(self, method: str, request: bytes, context: grpc.aio.ServicerContext) -> Any:
        self.calls.append(Call(method, request, dict(context.invocation_metadata())))
        answers = self.answers.get(method) or [Refusal(grpc.StatusCode.UNIMPLEMENTED)]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@asynccontextmanager
async def serving(script: Script, credentials: Any = None) -> AsyncIterator[str]:
    """Serve the script on a free port of loopback; yields ``host:port``."""
    server = grpc.aio.server()
    for service, methods in METHODS.items():
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(partial(_answer, script, name))
            for name in methods
        }
        if service.endswith("GenerativeService"):
            handlers["StreamGenerateContent"] = grpc.unary_stream_rpc_method_handler(
                partial(_stream, script, "StreamGenerateContent")
            )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = (
        server.add_secure_port("localhost:0", credentials)
        if credentials
        else server.add_insecure_port("127.0.0.1:0")
    )
    await server.start()
    try:
        yield f"{'localhost' if credentials else '127.0.0.1'}:{port}"
    finally:
        await server.stop(None)


async def _answer(
    script: Script, method: str, request: bytes, context: grpc.aio.ServicerContext
) -> bytes:
    answer = script.next(method, request, context)
    if isinstance(answer, Refusal):
        await refuse(answer, context)
    return _bytes(answer)


async def _stream(
    script: Script, method: str, request: bytes, context: grpc.aio.ServicerContext
) -> AsyncIterator[bytes]:
    for piece in script.next(method, request, context):
        if isinstance(piece, Refusal):
            await refuse(piece, context)
        yield _bytes(piece)


async def refuse(refusal: Refusal, context: grpc.aio.ServicerContext) -> None:
    """End the call with a status, its details where a client looks for them."""
    status = status_pb2.Status(code=refusal.code.value[0], message=refusal.message)
    for detail in refusal.details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(refusal.code, refusal.message, trailing)


def _bytes(message: Any) -> bytes:
    if hasattr(message, "SerializeToString"):
        return message.SerializeToString()
    return type(message).serialize(message)
