"""Every method the service knows: who may call it, on what, and who answers. Both doors read it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from google.longrunning import operations_pb2

from tuner.server import messages
from tuner.server.handlers import (
    answers,
    creation,
    embeddings,
    generate,
    models,
    operations,
    permissions,
    tuned_models,
)
from tuner.server.messages import PACKAGE, Message, raw
from tuner.types import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tuner.server.access.identity import Caller
    from tuner.server.service import Service

    Handler = Callable[[Service, Caller, Message], Awaitable[Message] | AsyncIterator[Message]]

BASE_MODEL = r"models/.*"


@dataclass(frozen=True, slots=True)
class Method:
    """One method.

    Attributes:
        name: ``package.Service/Method``.
        request: The class of the message that comes.
        role: What the caller must be of the tuned model that the request is about; None is open
            to everybody the service knows.
        about: The field that names the tuned model, or something inside it.
        form: What that field looks like, for people.
        exempt: Names that need no role: a base model, all models.
        streams: The handler yields messages in place of returning one.
        is_quiet: Called too often to be logged each time.
    """

    name: str
    handler: Handler
    request: Any
    role: Role | None = None
    about: str = ""
    form: str = "tunedModels/ID"
    exempt: str | None = None
    streams: bool = False
    is_quiet: bool = False

    @property
    def short_name(self) -> str:
        """The method without its service."""
        return self.name.rpartition("/")[2]

    @property
    def response(self) -> Any:
        """The class of the message that goes back, or of each one of a stream."""
        return _RESPONSES.get(self.short_name) or raw(f"{self.short_name}Response")


def _models(name: str, handler: Handler, role: Role | None = None, about: str = "") -> Method:
    request = raw(f"{name}Request")
    return Method(f"{PACKAGE}.ModelService/{name}", handler, request, role, about)


def _permissions(name: str, handler: Handler, role: Role, about: str) -> Method:
    request = raw(f"{name}Request")
    form = "tunedModels/ID/permissions/ID" if about.endswith("name") else "tunedModels/ID"
    return Method(f"{PACKAGE}.PermissionService/{name}", handler, request, role, about, form)


def _generative(name: str, handler: Handler, request: str = "", *, streams: bool = False) -> Method:
    full_name = f"{PACKAGE}.GenerativeService/{name}"
    form = "models/ID or tunedModels/ID"
    kind = raw(request or f"{name}Request")
    return Method(full_name, handler, kind, Role.READER, "model", form, BASE_MODEL, streams)


def _operations(
    name: str, handler: Handler, request: Any, role: Role, exempt: str | None = None
) -> Method:
    full_name = f"google.longrunning.Operations/{name}"
    form = "tunedModels/ID/operations" + ("/ID" if exempt is None else "")
    is_quiet = role == Role.READER
    return Method(full_name, handler, request, role, "name", form, exempt, is_quiet=is_quiet)


_RESPONSES = {
    "GetModel": messages.Model,
    "CreateTunedModel": messages.Operation,
    "GetTunedModel": messages.TunedModel,
    "UpdateTunedModel": messages.TunedModel,
    "DeleteTunedModel": messages.Empty,
    "CreatePermission": messages.Permission,
    "GetPermission": messages.Permission,
    "UpdatePermission": messages.Permission,
    "DeletePermission": messages.Empty,
    "StreamGenerateContent": messages.GenerateContentResponse,
    "GetOperation": messages.Operation,
    "ListOperations": operations_pb2.ListOperationsResponse,
    "WaitOperation": messages.Operation,
    "CancelOperation": messages.Empty,
    "DeleteOperation": messages.Empty,
}
_SOURCE = "tuned_model.tuned_model_source.tuned_model"
_TABLE = (
    _models("ListModels", models.list_models),
    _models("GetModel", models.get_model),
    Method(
        f"{PACKAGE}.ModelService/CreateTunedModel",
        creation.create_tuned_model,
        raw("CreateTunedModelRequest"),
        Role.READER,
        _SOURCE,
        exempt="",
    ),
    _models("ListTunedModels", tuned_models.list_tuned_models),
    _models("GetTunedModel", tuned_models.get_tuned_model, Role.READER, "name"),
    _models("UpdateTunedModel", tuned_models.update_tuned_model, Role.WRITER, "tuned_model.name"),
    _models("DeleteTunedModel", tuned_models.delete_tuned_model, Role.OWNER, "name"),
    # The addresses of those with access are for those who may share: readers do not see them.
    _permissions("CreatePermission", permissions.create_permission, Role.WRITER, "parent"),
    _permissions("GetPermission", permissions.get_permission, Role.WRITER, "name"),
    _permissions("ListPermissions", permissions.list_permissions, Role.WRITER, "parent"),
    _permissions("UpdatePermission", permissions.update_permission, Role.WRITER, "permission.name"),
    _permissions("DeletePermission", permissions.delete_permission, Role.WRITER, "name"),
    Method(
        f"{PACKAGE}.PermissionService/TransferOwnership",
        permissions.transfer_ownership,
        raw("TransferOwnershipRequest"),
        Role.OWNER,
        "name",
    ),
    _generative("GenerateContent", generate.generate_content),
    _generative(
        "StreamGenerateContent",
        generate.stream_generate_content,
        "GenerateContentRequest",
        streams=True,
    ),
    _generative("CountTokens", generate.count_tokens),
    _generative("EmbedContent", embeddings.embed_content),
    _generative("BatchEmbedContents", embeddings.batch_embed_contents),
    _generative("GenerateAnswer", answers.generate_answer),
    _operations(
        "GetOperation", operations.get_operation, operations_pb2.GetOperationRequest, Role.READER
    ),
    _operations(
        "ListOperations",
        operations.list_operations,
        operations_pb2.ListOperationsRequest,
        Role.READER,
        operations.ALL,
    ),
    _operations(
        "WaitOperation", operations.wait_operation, operations_pb2.WaitOperationRequest, Role.READER
    ),
    replace(
        _operations(
            "CancelOperation",
            operations.cancel_operation,
            operations_pb2.CancelOperationRequest,
            Role.WRITER,
        ),
        form="tunedModels/ID or tunedModels/ID/operations/ID",
    ),
    _operations(
        "DeleteOperation",
        operations.delete_operation,
        operations_pb2.DeleteOperationRequest,
        Role.WRITER,
    ),
)

METHODS = {method.name: method for method in _TABLE}

UNIMPLEMENTED = {
    f"{PACKAGE}.GenerativeService/BidiGenerateContent": "live sessions",
    f"{PACKAGE}.RetrieverService": "corpora",
    f"{PACKAGE}.CacheService": "cached content",
    f"{PACKAGE}.FileService": "files",
    f"{PACKAGE}.PredictionService": "image and video generation",
    f"{PACKAGE}.DiscussService": "the chat methods of PaLM; use GenerateContent",
    f"{PACKAGE}.TextService": "the text methods of PaLM; use GenerateContent",
}


def why_not(name: str) -> str:
    """What to tell somebody who calls a method that is not in the table."""
    what = UNIMPLEMENTED.get(name) or UNIMPLEMENTED.get(name.partition("/")[0])
    return f"{name} is not offered here" + (f": no {what}." if what else ".")
