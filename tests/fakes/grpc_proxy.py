"""A gRPC proxy before a real service that loses calls, before their effect or after it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import grpc

from tests.fakes.grpc_server import refuse
from tests.fakes.tcp_proxy import wires_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.fakes.grpc_server import Refusal
    from tests.fakes.tcp_proxy import Wires

STREAMED = "StreamGenerateContent"
OWN = ("grpc-", "user-agent", "te", "content-type", ":")


@dataclass(frozen=True)
class Fault:
    """What happens to the ``nth`` call of a method, counted from 1.

    Attributes:
        when: ``before``: the service never hears of it; ``after``: it is done, and its reply lost.
        refusal: What the client is told; None breaks its connection.
    """

    method: str
    nth: int
    when: Literal["before", "after"]
    refusal: Refusal | None = None


@dataclass
class Proxy(grpc.GenericRpcHandler):
    """Passes bytes and metadata on; ``calls`` is every method that arrived."""

    channel: grpc.aio.Channel
    faults: Sequence[Fault]
    wires: Wires | None = None
    calls: list[str] = field(default_factory=list)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        path = details.method

        async def one(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            return await self._one(path, request, context)

        async def stream(request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            call = self.channel.unary_stream(path)(request, metadata=_theirs(context))
            try:
                async for piece in call:
                    yield piece
            except grpc.aio.AioRpcError as error:
                await _pass_on(error, context)

        if path.endswith(STREAMED):
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(one)

    async def _one(self, path: str, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        method = path.rpartition("/")[2]
        self.calls.append(method)
        nth = self.calls.count(method)
        faults = [each for each in self.faults if (each.method, each.nth) == (method, nth)]
        for fault in faults:
            if fault.when == "before":
                await self._strike(fault, context)
        try:
            answer: bytes = await self.channel.unary_unary(path)(request, metadata=_theirs(context))
        except grpc.aio.AioRpcError as error:
            await _pass_on(error, context)
        for fault in faults:
            await self._strike(fault, context)
        return answer

    async def _strike(self, fault: Fault, context: grpc.aio.ServicerContext) -> None:
        if fault.refusal is not None:
            await refuse(fault.refusal, context)
        assert self.wires is not None
        self.wires.reset()
        await context.abort(grpc.StatusCode.UNKNOWN, "nobody hears this")


@asynccontextmanager
async def proxied(upstream: str, *faults: Fault) -> AsyncIterator[tuple[str, Proxy]]:
    """A proxy on a free port of loopback: its ``host:port``, and what came through."""
    async with grpc.aio.insecure_channel(upstream) as channel:
        proxy = Proxy(channel, faults)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((proxy,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with wires_to(f"127.0.0.1:{port}") as (address, proxy.wires):
                yield address, proxy
        finally:
            await server.stop(None)


def _theirs(context: grpc.aio.ServicerContext) -> tuple[tuple[str, str | bytes], ...]:
    return tuple(pair for pair in context.invocation_metadata() if not pair[0].startswith(OWN))


async def _pass_on(error: grpc.aio.AioRpcError, context: grpc.aio.ServicerContext) -> None:
    trailing = tuple(error.trailing_metadata() or ())
    await context.abort(error.code(), error.details() or "", trailing)
