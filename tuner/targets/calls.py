"""Calls over one connection: sent, repeated where that is safe, and explained when they fail."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import grpc

from tuner.targets.actions import Call
from tuner.targets.failures import explain, read_failure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from tuner.targets.connect import Connection
    from tuner.targets.methods import Method

READ_TIMEOUT_S = 30.0
CHANGE_TIMEOUT_S = 60.0
GENERATE_TIMEOUT_S = 300.0
RETRY_DELAYS_S = (0.25, 0.5, 1.0, 2.0)


class Calls:
    """Every call has a timeout.

    All raise what ``failures.explain`` makes of a failure.
    """

    def __init__(self, connection: Connection) -> None:
        """Nothing is sent yet."""
        self._connection = connection

    async def pages(self, method: Method, request: Any) -> AsyncGenerator[Any]:
        """Every page of a listing, each read on its own."""
        while True:
            page = await self.read(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def read(
        self,
        method: Method,
        request: Any,
        timeout_s: float = READ_TIMEOUT_S,
        call: Call = Call.READ,
    ) -> Any:
        """Send what changes nothing, again where the table of actions says so."""
        for delay_s in RETRY_DELAYS_S:
            try:
                return await self._attempt(method, request, timeout_s)
            except grpc.RpcError as error:
                failure = read_failure(error)
                if not failure.is_repeated(call):
                    raise explain(failure, self._connection) from error
            # jitter, so that a thousand waiting jobs do not come back in step
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        return await self.send(method, request, timeout_s)

    async def generate(self, method: Method, request: Any) -> Any:
        """Ask a model; it changes nothing."""
        return await self.read(method, request, GENERATE_TIMEOUT_S, Call.GENERATE)

    async def stream(self, method: Method, request: Any) -> AsyncIterator[Any]:
        """Ask a model; once the first piece is out, a failure is final."""
        pieces = await self.generate(method, request)
        try:
            async for piece in pieces:
                yield piece
        except grpc.RpcError as error:
            raise explain(read_failure(error), self._connection) from error
        finally:
            pieces.cancel()

    async def send(self, method: Method, request: Any, timeout_s: float = CHANGE_TIMEOUT_S) -> Any:
        """Send once, and say what went wrong in our own errors."""
        try:
            return await self._attempt(method, request, timeout_s)
        except grpc.RpcError as error:
            raise explain(read_failure(error), self._connection) from error

    def _attempt(self, method: Method, request: Any, timeout_s: float) -> Any:
        """Begin one call with our metadata."""
        return method(request, timeout_s, self._connection.metadata)
