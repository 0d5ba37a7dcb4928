"""Calls the API's methods with timeouts, retries reads, and converts errors."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import grpc
from google.ai import generativelanguage_v1beta as gl
from google.api_core.gapic_v1 import routing_header
from google.api_core.gapic_v1.client_info import ClientInfo
from google.longrunning import operations_pb2
from google.protobuf.empty_pb2 import Empty

from tuner.targets.failures import explain, read_failure
from tuner.targets.protos import serialized
from tuner.targets.retry import Call, jittered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Metadata = tuple[tuple[str, str], ...]
    from collections.abc import AsyncGenerator, AsyncIterator

    from tuner.targets.auth import Connection

CLIENT: Metadata = (ClientInfo(gapic_version=gl.gapic_version.__version__).to_grpc_metadata(),)
"""The client information that Google's own clients send."""


class Method:
    """One method of the API; ``routed_by`` is the request field that Google routes by."""

    def __init__(self, begin: Callable[..., Any], routed_by: str = "") -> None:
        self._begin, self._routed_by = begin, routed_by
        self._route = attrgetter(routed_by) if routed_by else None

    def __call__(self, request: Any, timeout: float, metadata: Metadata) -> Awaitable[Any]:
        """Start the call; ``timeout`` is in seconds. Raises grpc.RpcError."""
        metadata = (*metadata, *CLIENT)
        if self._route:
            metadata = (*metadata, _routing(self._routed_by, self._route(request)))
        call: Awaitable[Any] = self._begin(request, timeout=timeout, metadata=metadata)
        return call


@lru_cache(4096)
def _routing(field: str, value: str) -> tuple[str, str]:
    header: tuple[str, str] = routing_header.to_grpc_metadata(((field, value),))
    return header


class Methods:
    """The methods that tuner calls."""

    def __init__(self, channel: grpc.aio.Channel) -> None:

        def of(service: str, name: str, response: Any, routed_by: str = "") -> Method:
            reads = (response.pb() if hasattr(response, "pb") else response).FromString
            begin = channel.unary_unary(f"/{service}/{name}", serialized, reads)
            return Method(begin, routed_by)

        models = f"{_V1BETA}.ModelService"
        self.get_model = of(models, "GetModel", gl.Model, "name")
        self.list_models = of(models, "ListModels", gl.ListModelsResponse)
        self.get_tuned_model = of(models, "GetTunedModel", gl.TunedModel, "name")
        self.list_tuned_models = of(models, "ListTunedModels", gl.ListTunedModelsResponse)
        self.create_tuned_model = of(models, "CreateTunedModel", operations_pb2.Operation)
        self.update_tuned_model = of(models, "UpdateTunedModel", gl.TunedModel, "tuned_model.name")
        self.delete_tuned_model = of(models, "DeleteTunedModel", Empty, "name")
        sharing = f"{_V1BETA}.PermissionService"
        self.list_permissions = of(sharing, "ListPermissions", gl.ListPermissionsResponse, "parent")
        self.create_permission = of(sharing, "CreatePermission", gl.Permission, "parent")
        self.update_permission = of(sharing, "UpdatePermission", gl.Permission, "permission.name")
        self.delete_permission = of(sharing, "DeletePermission", Empty, "name")
        self.transfer_ownership = of(
            sharing, "TransferOwnership", gl.TransferOwnershipResponse, "name"
        )
        generative = f"{_V1BETA}.GenerativeService"
        self.generate_content = of(
            generative, "GenerateContent", gl.GenerateContentResponse, "model"
        )
        streaming = channel.unary_stream(
            f"/{generative}/StreamGenerateContent",
            serialized,
            gl.GenerateContentResponse.pb().FromString,
        )

        async def started(*args: Any, **options: Any) -> Any:
            call = streaming(*args, **options)
            await call.wait_for_connection()
            return call

        self.stream_generate_content = Method(started, "model")
        self.count_tokens = of(generative, "CountTokens", gl.CountTokensResponse, "model")
        operations = "google.longrunning.Operations"
        self.get_operation = of(operations, "GetOperation", operations_pb2.Operation, "name")
        self.list_operations = of(
            operations, "ListOperations", operations_pb2.ListOperationsResponse, "name"
        )
        self.cancel_operation = of(operations, "CancelOperation", Empty, "name")


_V1BETA = "google.ai.generativelanguage.v1beta"


READ_TIMEOUT_S = 30.0
CHANGE_TIMEOUT_S = 60.0
GENERATE_TIMEOUT_S = 300.0
RETRY_DELAYS_S = (0.25, 0.5, 1.0, 2.0)


class Calls:
    """Sends calls with timeouts; failed calls raise what ``failures.explain`` returns."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def pages(self, method: Method, request: Any) -> AsyncGenerator[Any]:
        """Yield every page of a listing."""
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
        """Send a call that changes nothing, and retry as the table of actions says."""
        for delay_s in RETRY_DELAYS_S:
            try:
                return await self._attempt(method, request, timeout_s)
            except grpc.RpcError as error:
                failure = read_failure(error)
                if not failure.is_repeated(call):
                    raise explain(failure, self._connection) from error
            await asyncio.sleep(jittered(delay_s))
        return await self.send(method, request, timeout_s)

    async def generate(self, method: Method, request: Any) -> Any:
        """Generate an answer; it changes nothing."""
        return await self.read(method, request, GENERATE_TIMEOUT_S, Call.GENERATE)

    async def stream(self, method: Method, request: Any) -> AsyncIterator[Any]:
        """Stream an answer; a failure after the first piece is final."""
        pieces = await self.generate(method, request)
        try:
            async for piece in pieces:
                yield piece
        except grpc.RpcError as error:
            raise explain(read_failure(error), self._connection) from error
        finally:
            pieces.cancel()

    async def send(self, method: Method, request: Any, timeout_s: float = CHANGE_TIMEOUT_S) -> Any:
        """Send a call once."""
        try:
            return await self._attempt(method, request, timeout_s)
        except grpc.RpcError as error:
            raise explain(read_failure(error), self._connection) from error

    def _attempt(self, method: Method, request: Any, timeout_s: float) -> Any:
        return method(request, timeout_s, self._connection.metadata)
