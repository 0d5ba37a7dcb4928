"""What the gRPC port offers, told to tools like grpcurl: every service with its methods and messages.

Google's package registers the messages of v1beta and no services, so the services are described
here, from our own table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from tuner.server.methods import METHODS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tuner.server.methods import Method

_OLD, _NEW = "grpc.reflection.v1alpha", "grpc.reflection.v1"  # the same messages, renamed
VERSIONS = tuple(f"{package}.ServerReflection" for package in (_OLD, _NEW))


def handlers() -> Mapping[str, Any]:
    """The method of both versions of gRPC reflection, by its paths; it tells only what is public."""
    pool = _pool()
    ours = {name.partition("/")[0] for name in METHODS}
    names = [*ours, *VERSIONS, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
    handler = grpc.stream_stream_rpc_method_handler(
        aio.ReflectionServicer(names, pool).ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{version}/ServerReflectionInfo": handler for version in VERSIONS}


def _pool() -> Any:
    """Every file our methods need, and one more a package that lacks its services."""
    pool = descriptor_pool.DescriptorPool()
    known: set[str] = set()
    for file in (reflection_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, *_files(METHODS.values())):
        _add(pool, file, known)
    pool.Add(_renamed(reflection_pb2.DESCRIPTOR))
    for package in sorted({_package(method) for method in METHODS.values()}):
        methods = [method for method in METHODS.values() if _package(method) == package]
        missing = [method for method in methods if not _is_described(method)]
        if missing:
            pool.Add(_services_file(package, missing))
    return pool


def _files(methods: Iterable[Method]) -> list[Any]:
    described = [kind.DESCRIPTOR for each in methods for kind in (each.request, each.response)]
    return list({each.file.name: each.file for each in described}.values())


def _add(pool: Any, file: Any, known: set[str]) -> None:
    if file.name not in known:
        known.add(file.name)
        for each in file.dependencies:
            _add(pool, each, known)
        pool.AddSerializedFile(file.serialized_pb)


def _renamed(file: Any) -> Any:
    described = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
    described.name = "grpc/reflection/v1/reflection.proto"
    text = text_format.MessageToString(described).replace(_OLD, _NEW)
    return text_format.Parse(text, descriptor_pb2.FileDescriptorProto())


def _services_file(package: str, methods: list[Method]) -> Any:
    path = f"{package.replace('.', '/')}/services.proto"
    file = descriptor_pb2.FileDescriptorProto(name=path, package=package, syntax="proto3")
    file.dependency.extend(each.name for each in _files(methods))
    for name in sorted({_service(method) for method in methods}):
        service = file.service.add(name=name.rpartition(".")[2])
        for method in methods:
            if _service(method) == name:
                service.method.add(
                    name=method.short_name,
                    input_type=f".{method.request.DESCRIPTOR.full_name}",
                    output_type=f".{method.response.DESCRIPTOR.full_name}",
                    server_streaming=method.streams,
                )
    return file


def _is_described(method: Method) -> bool:
    name = _service(method).rpartition(".")[2]
    return name in method.request.DESCRIPTOR.file.services_by_name


def _service(method: Method) -> str:
    return method.name.partition("/")[0]


def _package(method: Method) -> str:
    return _service(method).rpartition(".")[0]
