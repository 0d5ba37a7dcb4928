"""Reflection, used as tools use it: nothing is known of the service but its address."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.fakes.engine import FakeEngine
from tuner.server.app import running
from tuner.server.messages import PACKAGE
from tuner.server.methods import METHODS
from tuner.server.settings import Settings

pytestmark = pytest.mark.slow


def with_channel(folder, work):
    """Google's reflection client blocks, so it has a thread beside the service's loop."""

    def connected(address):
        with grpc.insecure_channel(address) as channel:
            return work(channel)

    async def go():
        async with running(Settings("127.0.0.1:0"), FakeEngine(), folder) as (_, at):
            with ThreadPoolExecutor(1) as thread:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(thread, connected, at.grpc)

    return asyncio.run(go())


def test_every_method_is_described_with_its_messages(tmp_path):
    def described(channel):
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = descriptor_pool.DescriptorPool(database)
        services = map(pool.FindServiceByName, database.get_services())
        return {
            f"{service.full_name}/{method.name}": (method.input_type.full_name, method)
            for service in services
            for method in service.methods
        }

    found = with_channel(tmp_path, described)
    assert set(METHODS) < set(found)
    for name, method in METHODS.items():
        request, told = found[name]
        assert request == method.request.DESCRIPTOR.full_name
        assert told.output_type.full_name == method.response.DESCRIPTOR.full_name
        assert told.server_streaming == method.streams


def test_a_method_is_called_by_what_reflection_tells_alone(tmp_path):
    def called(channel):
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        method = pool.FindServiceByName(f"{PACKAGE}.ModelService").FindMethodByName("GetModel")
        request, response = map(
            message_factory.GetMessageClass, (method.input_type, method.output_type)
        )
        path = f"/{PACKAGE}.ModelService/GetModel"
        call = channel.unary_unary(path, request.SerializeToString, response.FromString)
        return call(request(name="models/tiny")).display_name

    assert with_channel(tmp_path, called) == "Tiny"


def test_the_newer_version_of_reflection_describes_itself(tmp_path):
    def asked(channel):
        request = reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="grpc.reflection.v1.ServerReflection"
        )
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        method = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        answers = next(method(iter([request]))), next(stub.ServerReflectionInfo(iter([request])))
        return [each.file_descriptor_response.file_descriptor_proto for each in answers]

    new, old = with_channel(tmp_path, asked)
    assert new == old
    assert b"grpc.reflection.v1.ServerReflectionRequest" in new[0]
