"""`tuner serve` as a process of its own, and Google's clients connected to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.ai.generativelanguage_v1beta.services import (
    generative_service,
    model_service,
    permission_service,
)
from google.longrunning import operations_pb2

from tests.fakes.models import lend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Serving:
    home: Path
    process: subprocess.Popen[str]

    @property
    def address(self) -> str:
        return self.addresses()["grpc"]

    @property
    def url(self) -> str:
        return f"http://{self.addresses()['rest']}"

    def addresses(self) -> dict[str, str]:
        text = (self.home / "service" / "address.json").read_text()
        return dict(json.loads(text))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ready(self) -> None:
        """The last line of the banner is written when the service listens."""
        for line in self.process.stderr:
            if line.startswith("  stop"):
                return
        raise AssertionError(f"the service ended with {self.process.wait()}")


def tuner(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "tuner", *arguments, "--home", str(home)]


@contextmanager
def serving(home: Path, *arguments: str) -> Iterator[Serving]:
    """A service over the tiny model; ended, one way or another, with the block."""
    doors = ("--grpc", "127.0.0.1:0", "--rest", "127.0.0.1:0")
    command = tuner(home, "serve", *doors, "--base-model", "tiny=builtin:tiny")
    environment = os.environ | {"TUNER_HOME": str(home)}
    lend(home)
    with subprocess.Popen(
        [*command, *arguments], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        service = Serving(home, process)
        try:
            service.ready()
            yield service
        finally:
            process.terminate()
            process.communicate(timeout=60)


@dataclass(frozen=True)
class Clients:
    models: model_service.ModelServiceAsyncClient
    permissions: permission_service.PermissionServiceAsyncClient
    generative: generative_service.GenerativeServiceAsyncClient
    channel: grpc.aio.Channel

    async def wait(self, operation: str, ms: int) -> None:
        """Google's clients have no method for WaitOperation; the service does."""
        request = operations_pb2.WaitOperationRequest(name=operation)
        request.timeout.FromMilliseconds(ms)
        call = self.channel.unary_unary(
            "/google.longrunning.Operations/WaitOperation",
            operations_pb2.WaitOperationRequest.SerializeToString,
            operations_pb2.Operation.FromString,
        )
        await call(request)


@asynccontextmanager
async def google_clients(address: str) -> AsyncIterator[Clients]:
    """Google's asynchronous clients, unmodified, over a plaintext channel."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield Clients(
            model_service.ModelServiceAsyncClient(
                transport=model_service.transports.ModelServiceGrpcAsyncIOTransport(channel=channel)
            ),
            permission_service.PermissionServiceAsyncClient(
                transport=permission_service.transports.PermissionServiceGrpcAsyncIOTransport(
                    channel=channel
                )
            ),
            generative_service.GenerativeServiceAsyncClient(
                transport=generative_service.transports.GenerativeServiceGrpcAsyncIOTransport(
                    channel=channel
                )
            ),
            channel,
        )
