"""The gRPC server: the methods of the table, health checks and reflection.

Google's package has clients and messages but no servicer classes, so handlers are registered by name.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection

from tuner.errors import Unavailable
from tuner.server.api_errors import ApiError, Code, to_status
from tuner.server.methods import METHODS, Call, Method, call, call_stream, unimplemented
from tuner.server.service import too_large
from tuner.server.tls import RenewalWatcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from tuner.server.messages import Message
    from tuner.server.service import Service
    from tuner.server.tls import Tls

HEALTH_SERVICE = "grpc.health.v1.Health"
HEALTH_CHECK_S = 5.0
CHECKED_SERVICES = frozenset({"", *(name.partition("/")[0] for name in METHODS)})
_OLD_PACKAGE, _NEW_PACKAGE = "grpc.reflection.v1alpha", "grpc.reflection.v1"  # the same messages
REFLECTION_SERVICES = tuple(
    f"{package}.ServerReflection" for package in (_OLD_PACKAGE, _NEW_PACKAGE)
)
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # otherwise two services could share a port unnoticed
]
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}
_Health, _HealthList = health_pb2.HealthCheckResponse, health_pb2.HealthListResponse


class MethodHandlers:
    """Finds the handler of a method for grpc; all are made once."""

    def __init__(self, service: Service) -> None:
        methods = {f"/{name}": _handler(service, method) for name, method in METHODS.items()}
        self._handlers = {**methods, **_health_handlers(service), **_reflection_handlers()}

    def service(self, details: Any) -> Any:
        """Return the handler for ``details.method``, ``/package.Service/Method``."""
        if found := self._handlers.get(details.method):
            return found
        error = unimplemented(details.method.removeprefix("/"))

        async def handle(_requests: Any, context: Any) -> None:
            await _abort(context, error)

        return grpc.stream_stream_rpc_method_handler(handle)


def new_server(service: Service) -> Any:
    """Return a grpc.aio server that does not listen yet."""
    # gRPC's own error has no details, so requests slightly over the limit are read and refused by us.
    max_bytes = ("grpc.max_receive_message_length", 2 * service.limits.message_bytes)
    server = grpc.aio.server(options=[*_OPTIONS, max_bytes])
    server.add_generic_rpc_handlers([MethodHandlers(service)])
    return server


def bind(server: Any, address: str, tls: Tls | None = None) -> str:
    """Listen on ``host:port`` and return it with the actual port. Raises Unavailable."""
    try:
        port = (
            server.add_secure_port(address, _credentials(tls))
            if tls
            else server.add_insecure_port(address)
        )
    except RuntimeError as error:
        what = f"cannot listen on {address}: another program does, or it is not this machine's"
        fix = "choose another port with --grpc; port 0 takes a free one"
        raise Unavailable(what, fix) from error
    return f"{address.rpartition(':')[0]}:{port}"


def _credentials(tls: Tls) -> Any:
    watcher = RenewalWatcher(tls)

    def configuration() -> Any:
        pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        roots = tls.client_ca.read_bytes() if tls.client_ca else None
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        lambda: configuration() if watcher.is_renewed() else None,
        require_client_authentication=tls.client_ca is not None,
    )


def _handler(service: Service, method: Method) -> Any:
    async def unary(body: bytes, context: Any) -> Message:
        try:
            return await call(service, _call(service, method, body, context))
        except ApiError as error:
            await _abort(context, error)

    # Writes instead of yielding: at shutdown the cancellation must reach this function.
    async def stream(body: bytes, context: Any) -> None:
        try:
            responses = call_stream(service, _call(service, method, body, context))
            async with aclosing(responses):
                async for response in responses:
                    await context.write(response)
        except ApiError as error:
            await _abort(context, error)

    if method.streams:
        return grpc.unary_stream_rpc_method_handler(stream, response_serializer=_serialize)
    return grpc.unary_unary_rpc_method_handler(unary, response_serializer=_serialize)


def _call(service: Service, method: Method, body: bytes, context: Any) -> Call:
    pairs = context.invocation_metadata() or ()
    metadata = {key: value for key, value in pairs if isinstance(value, str)}

    async def read() -> Message:
        if len(body) > service.limits.message_bytes:
            raise too_large(len(body), service.limits)
        try:
            return method.request.FromString(body)
        except DecodeError as error:
            text = f"The body is not a {method.request.DESCRIPTOR.full_name}."
            raise ApiError(Code.INVALID_ARGUMENT, text, "NOT_A_MESSAGE") from error

    return Call(method, metadata, read)


async def _abort(context: Any, error: ApiError) -> NoReturn:
    status = to_status(error)
    details = ("grpc-status-details-bin", status.SerializeToString())
    await context.abort(_STATUS_CODES[status.code], status.message, (details,))
    raise AssertionError("abort returned")  # it raises


def _serialize(message: Message) -> bytes:
    return bytes(message.SerializeToString())


def _health_handlers(service: Service) -> Mapping[str, Any]:
    """Return the methods of grpc.health.v1.Health by path; they need no key."""

    async def check(request: Any, context: Any) -> Any:
        if request.service not in CHECKED_SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service}")
        return await _health(service)

    async def watch(request: Any, _context: Any) -> AsyncIterator[Any]:
        if request.service not in CHECKED_SERVICES:
            yield _Health(status=_Health.SERVICE_UNKNOWN)
            return
        last, draining = None, service.calls.draining
        while True:
            is_last = draining.is_set()
            status = await _health(service)
            if status != last:
                yield status
            if is_last:
                return
            last = status
            with suppress(TimeoutError):
                await asyncio.wait_for(draining.wait(), HEALTH_CHECK_S)

    async def list_(_request: Any, _context: Any) -> Any:
        return _HealthList(statuses=dict.fromkeys(CHECKED_SERVICES, await _health(service)))

    checks = health_pb2.HealthCheckRequest.FromString, _Health.SerializeToString
    lists = health_pb2.HealthListRequest.FromString, _HealthList.SerializeToString
    return {
        f"/{HEALTH_SERVICE}/Check": grpc.unary_unary_rpc_method_handler(check, *checks),
        f"/{HEALTH_SERVICE}/Watch": grpc.unary_stream_rpc_method_handler(watch, *checks),
        f"/{HEALTH_SERVICE}/List": grpc.unary_unary_rpc_method_handler(list_, *lists),
    }


async def _health(service: Service) -> Any:
    problem = await service.health_problem()
    return _Health(status=_Health.NOT_SERVING if problem else _Health.SERVING)


def _reflection_handlers() -> Mapping[str, Any]:
    """Return the method of both versions of gRPC reflection by path; it needs no key."""
    services = {name.partition("/")[0] for name in METHODS}
    names = [*services, *REFLECTION_SERVICES, HEALTH_SERVICE]
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.ReflectionServicer(names, _descriptor_pool()).ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{service}/ServerReflectionInfo": handler for service in REFLECTION_SERVICES}


def _descriptor_pool() -> Any:
    """Google's package describes the messages of v1beta but no services; they are added here."""
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()
    for file in (reflection_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, *_files(METHODS.values())):
        _add_file(pool, file, added)
    new = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    new.name = "grpc/reflection/v1/reflection.proto"
    text = text_format.MessageToString(new).replace(_OLD_PACKAGE, _NEW_PACKAGE)
    pool.Add(text_format.Parse(text, descriptor_pb2.FileDescriptorProto()))
    missing: dict[str, list[Method]] = {}
    for method in METHODS.values():
        package, _, service = method.name.partition("/")[0].rpartition(".")
        if service not in method.request.DESCRIPTOR.file.services_by_name:
            missing.setdefault(package, []).append(method)
    for package, methods in missing.items():
        pool.Add(_services_file(package, methods))
    return pool


def _files(methods: Iterable[Method]) -> list[Any]:
    messages = [kind.DESCRIPTOR for each in methods for kind in (each.request, each.response)]
    return list({each.file.name: each.file for each in messages}.values())


def _add_file(pool: Any, file: Any, added: set[str]) -> None:
    if file.name not in added:
        added.add(file.name)
        for each in file.dependencies:
            _add_file(pool, each, added)
        pool.AddSerializedFile(file.serialized_pb)


def _services_file(package: str, methods: list[Method]) -> Any:
    path = f"{package.replace('.', '/')}/services.proto"
    file = descriptor_pb2.FileDescriptorProto(name=path, package=package, syntax="proto3")
    file.dependency.extend(each.name for each in _files(methods))
    services: dict[str, Any] = {}
    for method in methods:
        name = method.name.partition("/")[0].rpartition(".")[2]
        if name not in services:
            services[name] = file.service.add(name=name)
        services[name].method.add(
            name=method.short_name,
            input_type=f".{method.request.DESCRIPTOR.full_name}",
            output_type=f".{method.response.DESCRIPTOR.full_name}",
            server_streaming=method.streams,
        )
    return file
