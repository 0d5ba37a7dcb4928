"""Every method of the service with its role and its handler, and how a call of it runs.

gRPC and REST both call through ``call`` and ``call_stream``: identify the caller, apply the limit of
calls in flight, read the request, check the role, run the handler, count and log.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from google.longrunning import operations_pb2

from tuner import names
from tuner.engine import EngineError
from tuner.server import messages, telemetry
from tuner.server.access import identify
from tuner.server.api_errors import ApiError, Code, hidden, invalid_field
from tuner.server.handlers import (
    answers,
    embeddings,
    generate,
    models,
    operations,
    permissions,
    tuned_models,
)
from tuner.server.messages import PACKAGE, Message, raw
from tuner.server.store import permissions as permission_rows
from tuner.server.store.database import StoreFailed
from tuner.types import Role

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Iterator,
        Mapping,
    )

    from tuner.server.access import Caller
    from tuner.server.service import Service

    Handler = Callable[[Service, Caller, Message], Awaitable[Message] | AsyncIterator[Message]]

ROLE_RANKS = {Role.READER: 1, Role.WRITER: 2, Role.OWNER: 3}
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method.

    Attributes:
        name: ``package.Service/Method``.
        response: The class of the response, or of each message of a stream.
        role: The role the caller needs on the tuned model that the request names; None needs none.
        about: The request's field that names the tuned model, or something inside it.
        form: What that field looks like, for errors.
        exempt: Pattern of names that need no role, such as base models.
        is_quiet: Whether a success is logged at debug level only, because clients poll it.
    """

    name: str
    handler: Handler
    request: Any
    response: Any
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


@dataclass(frozen=True, slots=True)
class Call:
    """One call over gRPC or REST; ``read`` returns the request once the caller is known."""

    method: Method
    metadata: Mapping[str, str]
    read: Callable[[], Awaitable[Message]]


async def call(service: Service, one: Call) -> Message:
    """Return the response to one call. Raises only ApiError."""
    with _recorded(service, one.method) as record:
        caller = await _identify(service, one, record)
        with service.calls.limited(caller, service.limits.in_flight):
            request = await _read(service, caller, one)
            return await one.method.handler(service, caller, request)  # type: ignore[misc]


async def call_stream(service: Service, one: Call) -> AsyncGenerator[Message, None]:
    """Yield the responses to one streaming call as they come. Raises only ApiError."""
    with _recorded(service, one.method) as record:
        caller = await _identify(service, one, record)
        with service.calls.limited(caller, service.limits.in_flight):
            request = await _read(service, caller, one)
            handling: Any = one.method.handler(service, caller, request)
            async with aclosing(handling) as responses:
                async for response in responses:
                    yield response


async def authorize(service: Service, caller: Caller, method: Method, request: Message) -> None:
    """Check that the caller has the method's role on the tuned model that the request names.

    A model hidden from the caller and one that does not exist give the same ApiError.
    """
    name = _named_tuned_model(method, request)
    if method.role is None or not name:
        return
    roles = await service.store.read_cached(
        permission_rows.list_roles, name, caller.grantees, topic=name
    )
    if not roles:
        raise hidden(name)
    highest = max(roles, key=_rank)
    if _rank(highest) < _rank(method.role):
        raise ApiError(
            Code.PERMISSION_DENIED,
            f"{method.short_name} on {name} needs the role {method.role};"
            f" {caller.email_address} is a {highest}.",
            "ROLE_TOO_LOW",
        )


def unimplemented(name: str) -> ApiError:
    """Return the error for a call of a method that is not in the table."""
    what = _NOT_OFFERED.get(name) or _NOT_OFFERED.get(name.partition("/")[0])
    text = f"{name} is not offered here" + (f": no {what}." if what else ".")
    return ApiError(Code.UNIMPLEMENTED, text, "NOT_OFFERED")


@contextmanager
def _recorded(service: Service, method: Method) -> Iterator[dict[str, str]]:
    """Count and log the call, translate its exceptions, and yield what to add to the log line."""
    started, record = time.monotonic(), {"key": ""}
    code, reason = "OK", ""
    with service.calls.call():
        try:
            yield record
        except (asyncio.CancelledError, GeneratorExit) as cancelled:
            code, reason = "CANCELLED", "HUNG_UP"
            if service.calls.is_over:
                error = _stopping()
                code, reason = error.code.name, error.reason
                raise error from cancelled
            raise
        except Exception as raised:
            error = _api_error(raised)
            code, reason = error.code.name, error.reason
            raise error from raised
        finally:
            seconds = time.monotonic() - started
            telemetry.count_call(method.short_name, code, seconds)
            level = logging.DEBUG if method.is_quiet and not reason else logging.INFO
            if log.isEnabledFor(level):
                extra = {"method": method.name, **record, "code": code, "reason": reason}
                log.log(level, method.short_name, extra=extra | {"ms": round(seconds * 1000, 1)})


async def _identify(service: Service, one: Call, record: dict[str, str]) -> Caller:
    if service.calls.draining.is_set():
        raise _stopping()
    caller = await identify(service.store, one.metadata, requires_key=service.requires_key)
    record["key"] = caller.key_id
    return caller


async def _read(service: Service, caller: Caller, one: Call) -> Message:
    request = await one.read()
    await authorize(service, caller, one.method, request)
    return request


def _stopping() -> ApiError:
    text = "The service is stopping; retry when it, or another one, is running."
    return ApiError(Code.UNAVAILABLE, text, "STOPPING", retry_after_s=1.0)


def _api_error(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, EngineError) and error.is_request:
        return ApiError(Code.INVALID_ARGUMENT, str(error), "MODEL_REFUSES")
    if isinstance(error, EngineError):
        return ApiError(Code.UNAVAILABLE, str(error), "MODEL_FAILED", retry_after_s=1.0)
    if isinstance(error, StoreFailed):
        log.error("store failed", extra={"reason": str(error)})
        return ApiError(Code.UNAVAILABLE, error.what, "STORE_FAILED", retry_after_s=1.0)
    incident = secrets.token_hex(4)
    log.error("a call broke", extra={"incident": incident}, exc_info=error)
    text = f"The service has a bug; its log says more, see incident {incident}."
    return ApiError(Code.INTERNAL, text, "BROKE")


def _rank(role: str) -> int:
    return ROLE_RANKS[Role(role)]


def _named_tuned_model(method: Method, request: Message) -> str:
    """Return the tuned model that the request is about; empty if it needs no role."""
    if not method.about:
        return ""
    name: str = attrgetter(method.about)(request)
    if method.exempt is not None and re.fullmatch(method.exempt, name):
        return ""
    if name.startswith("corpora/"):
        raise ApiError(Code.UNIMPLEMENTED, f"{name}: corpora are not offered here.", "NO_CORPORA")
    found = _MODEL_OF.get(method.form, _tuned_model)(name)
    if found is None:
        raise invalid_field(method.about, f"{name!r} is not of the form {method.form}")
    return found


def _tuned_model(name: str) -> str | None:
    return name if names.is_tuned_model(name) else None


_OPERATION, _OPERATIONS = "tunedModels/ID/operations/ID", "tunedModels/ID/operations"
_MODEL_OR_OPERATION = f"tunedModels/ID or {_OPERATION}"
_PERMISSION = "tunedModels/ID/permissions/ID"
# By Method.form: returns the tuned model that a name belongs to.
_MODEL_OF: dict[str, Callable[[str], str | None]] = {
    _OPERATION: names.operation_parent,
    _MODEL_OR_OPERATION: lambda name: _tuned_model(name) or names.operation_parent(name),
    _PERMISSION: names.permission_parent,
    _OPERATIONS: lambda name: _tuned_model(name.removesuffix("/operations")),
}


def _method(  # noqa: PLR0913, PLR0917  (a row of the table)
    service: str,
    handler: Any,
    response: str | Any,
    role: Role | None = None,
    about: str = "",
    form: str = "tunedModels/ID",
    *,
    exempt: str | None = None,
    request: str = "",
) -> Method:
    """Return a method named after its handler: ``get_model`` is GetModel."""
    name = "".join(word.capitalize() for word in handler.__name__.split("_"))
    is_operations = service == _OPERATIONS_SERVICE
    request = request or f"{name}Request"
    return Method(
        name=f"{service}/{name}",
        handler=handler,
        request=getattr(operations_pb2, request) if is_operations else raw(request),
        response=raw(response) if isinstance(response, str) else response,
        role=role,
        about=about,
        form=form,
        exempt=exempt,
        streams=name.startswith("Stream"),
        is_quiet=is_operations and role == Role.READER,
    )


def _generative(handler: Any, response: str, request: str = "") -> Method:
    form = "models/ID or tunedModels/ID"
    service = f"{PACKAGE}.GenerativeService"
    return _method(
        service, handler, response, READER, "model", form, exempt=r"models/.*", request=request
    )


READER, WRITER, OWNER = Role.READER, Role.WRITER, Role.OWNER
_MODELS, _PERMISSIONS = f"{PACKAGE}.ModelService", f"{PACKAGE}.PermissionService"
_OPERATIONS_SERVICE = "google.longrunning.Operations"
_SOURCE = "tuned_model.tuned_model_source.tuned_model"
_Operation, _Empty = messages.Operation, messages.Empty
_Operations = operations_pb2.ListOperationsResponse
# fmt: off
# Service, handler, response, role, the field that names the tuned model, and the form of that field.
# Readers do not see the addresses of those with access: only callers who may share do.
_TABLE = (
    _method(_MODELS, models.list_models, "ListModelsResponse"),
    _method(_MODELS, models.get_model, "Model"),
    _method(_MODELS, tuned_models.create_tuned_model, _Operation, READER, _SOURCE, exempt=""),
    _method(_MODELS, tuned_models.list_tuned_models, "ListTunedModelsResponse"),
    _method(_MODELS, tuned_models.get_tuned_model, "TunedModel", READER, "name"),
    _method(_MODELS, tuned_models.update_tuned_model, "TunedModel", WRITER, "tuned_model.name"),
    _method(_MODELS, tuned_models.delete_tuned_model, _Empty, OWNER, "name"),
    _method(_PERMISSIONS, permissions.create_permission, "Permission", WRITER, "parent"),
    _method(_PERMISSIONS, permissions.get_permission, "Permission", WRITER, "name", _PERMISSION),
    _method(_PERMISSIONS, permissions.list_permissions, "ListPermissionsResponse", WRITER, "parent"),
    _method(_PERMISSIONS, permissions.update_permission, "Permission", WRITER, "permission.name", _PERMISSION),
    _method(_PERMISSIONS, permissions.delete_permission, _Empty, WRITER, "name", _PERMISSION),
    _method(_PERMISSIONS, permissions.transfer_ownership, "TransferOwnershipResponse", OWNER, "name"),
    _generative(generate.generate_content, "GenerateContentResponse"),
    _generative(generate.stream_generate_content, "GenerateContentResponse", "GenerateContentRequest"),
    _generative(generate.count_tokens, "CountTokensResponse"),
    _generative(embeddings.embed_content, "EmbedContentResponse"),
    _generative(embeddings.batch_embed_contents, "BatchEmbedContentsResponse"),
    _generative(answers.generate_answer, "GenerateAnswerResponse"),
    _method(_OPERATIONS_SERVICE, operations.get_operation, _Operation, READER, "name", _OPERATION),
    _method(_OPERATIONS_SERVICE, operations.list_operations, _Operations, READER, "name", _OPERATIONS, exempt=operations.ALL),
    _method(_OPERATIONS_SERVICE, operations.wait_operation, _Operation, READER, "name", _OPERATION),
    _method(_OPERATIONS_SERVICE, operations.cancel_operation, _Empty, WRITER, "name", _MODEL_OR_OPERATION),
    _method(_OPERATIONS_SERVICE, operations.delete_operation, _Empty, WRITER, "name", _OPERATION),
)
# fmt: on

METHODS = {method.name: method for method in _TABLE}

_NOT_OFFERED = {
    f"{PACKAGE}.GenerativeService/BidiGenerateContent": "live sessions",
    f"{PACKAGE}.RetrieverService": "corpora",
    f"{PACKAGE}.CacheService": "cached content",
    f"{PACKAGE}.FileService": "files",
    f"{PACKAGE}.PredictionService": "image and video generation",
    f"{PACKAGE}.DiscussService": "the chat methods of PaLM; use GenerateContent",
    f"{PACKAGE}.TextService": "the text methods of PaLM; use GenerateContent",
}
