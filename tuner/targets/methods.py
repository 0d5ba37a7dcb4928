"""The methods of the API on a channel: what each takes, answers and is routed by.

Google's clients wrap every call in a dozen layers, an interceptor among them, and cost three times as much.
"""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from google.ai import generativelanguage_v1beta as gl
from google.api_core.gapic_v1 import routing_header
from google.api_core.gapic_v1.client_info import ClientInfo
from google.longrunning import operations_pb2
from google.protobuf.empty_pb2 import Empty

from tuner.targets.wire import serialized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import grpc

    Metadata = tuple[tuple[str, str], ...]

CLIENT: Metadata = (ClientInfo(gapic_version=gl.gapic_version.__version__).to_grpc_metadata(),)
"""As what Google's clients show themselves."""


class Method:
    """One call; both sides are protobuf's own messages, and a request may be a wrapped one."""

    def __init__(self, begin: Callable[..., Any], routed_by: str = "") -> None:
        """``routed_by`` is the field of the request that Google's front end routes by."""
        self._begin, self._routed_by = begin, routed_by
        self._route = attrgetter(routed_by) if routed_by else None

    def __call__(self, request: Any, timeout: float, metadata: Metadata) -> Awaitable[Any]:
        """Begin the call; ``timeout`` is in seconds. Raises grpc.RpcError when it is awaited."""
        metadata = (*metadata, *CLIENT)
        if self._route:
            metadata = (*metadata, _routing(self._routed_by, self._route(request)))
        call: Awaitable[Any] = self._begin(request, timeout=timeout, metadata=metadata)
        return call


@lru_cache(4096)
def _routing(field: str, value: str) -> tuple[str, str]:
    """A job names its model in every call; api-core remembers thirty-two."""
    said: tuple[str, str] = routing_header.to_grpc_metadata(((field, value),))
    return said


class Methods:
    """All that are used."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Nothing is sent yet."""

        def of(service: str, name: str, answer: Any, routed_by: str = "") -> Method:
            reads = (answer.pb() if hasattr(answer, "pb") else answer).FromString
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

        async def begun(*args: Any, **options: Any) -> Any:
            call = streaming(*args, **options)
            await call.wait_for_connection()
            return call

        self.stream_generate_content = Method(begun, "model")
        self.count_tokens = of(generative, "CountTokens", gl.CountTokensResponse, "model")
        operations = "google.longrunning.Operations"
        self.get_operation = of(operations, "GetOperation", operations_pb2.Operation, "name")
        self.list_operations = of(
            operations, "ListOperations", operations_pb2.ListOperationsResponse, "name"
        )
        self.cancel_operation = of(operations, "CancelOperation", Empty, "name")


_V1BETA = "google.ai.generativelanguage.v1beta"
