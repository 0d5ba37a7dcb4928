"""A tuning service that tunes nothing: python stub_service.py [--within 20 | --each 0.5].

Tunings end at a time: drawn over so many seconds from the first call after a reset (seeded), or so many after
they began. Answers Stats with what it was asked, most tunings at a time, its own CPU and when each one ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import resource
import sys
import time
from collections import Counter
from functools import partial
from typing import Any

import grpc
from google.ai import generativelanguage_v1beta as gl
from google.longrunning import operations_pb2

V1BETA = "google.ai.generativelanguage.v1beta"
EARLIEST_S = 2.0
SEED = 7
ME = "me@example.com"


def raw(name: str) -> Any:
    """A message as protobuf has it."""
    return getattr(gl, name).pb()


class Stub:
    """The state of the service; times are of time.monotonic, which all processes of a machine share."""

    def __init__(self, within_s: float, each_s: float) -> None:
        self.within_s, self.each_s = within_s, each_s
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.calls: Counter[str] = Counter()
        self.ends: dict[str, float] = {}
        self.names: list[str] = []
        self.shared: dict[str, list[Any]] = {}
        self.most = 0
        self.random = random.Random(SEED)
        self.begun = 0.0

    def add(self, name: str) -> None:
        """One more tuning, and when it will end."""
        now = time.monotonic()
        self.begun = self.begun or now
        lasts = self.each_s or self.random.uniform(min(EARLIEST_S, self.within_s), self.within_s)
        self.ends[name] = (now if self.each_s else self.begun) + lasts
        self.names.append(name)
        self.shared[name] = [_permission(name, ME, "OWNER")]
        if self.each_s:
            self.most = max(self.most, sum(end > now for end in self.ends.values()))

    def operation(self, name: str) -> operations_pb2.Operation:
        """The operation of a tuned model at this moment."""
        done = time.monotonic() >= self.ends[name]
        found = operations_pb2.Operation(name=f"{name}/operations/1", done=done)
        metadata = raw("CreateTunedModelMetadata")(tuned_model=name, total_steps=8)
        metadata.completed_steps = 8 if done else 0
        found.metadata.Pack(metadata)
        if done:
            found.response.Pack(raw("TunedModel")(name=name))
        return found

    def model(self, name: str) -> Any:
        """A tuned model at this moment."""
        done = time.monotonic() >= self.ends[name]
        found = raw("TunedModel")(name=name, base_model="models/tiny")
        found.state = found.State.Value("ACTIVE" if done else "CREATING")
        return found

    def answer(self, method: str, request: Any) -> Any:
        """What a method of the API says; None when it is not there."""
        self.calls[method] += 1
        return getattr(self, re.sub("([A-Z])", r"_\1", method).lower())(request)

    def _create_tuned_model(self, request: Any) -> Any:
        name = f"tunedModels/{request.tuned_model_id}"
        self.add(name)
        return self.operation(name)

    def _get_tuned_model(self, request: Any) -> Any:
        return self.model(request.name) if request.name in self.ends else None

    def _list_tuned_models(self, _request: Any) -> Any:
        return raw("ListTunedModelsResponse")(tuned_models=[self.model(n) for n in self.names])

    def _get_model(self, request: Any) -> Any:
        methods = ["createTunedModel", "generateContent"]
        return raw("Model")(name=request.name, supported_generation_methods=methods)

    def _list_models(self, _request: Any) -> Any:
        return raw("ListModelsResponse")(models=[self._get_model(raw("Model")(name="models/tiny"))])

    def _generate_content(self, request: Any) -> Any:
        answer = raw("GenerateContentResponse")()
        said = request.contents[0].parts[0].text if request.model in self.ends else "no"
        candidate = answer.candidates.add(finish_reason="STOP")
        candidate.content.parts.add(text=said.replace("question", "answer"))
        return answer

    def _list_permissions(self, request: Any) -> Any:
        return raw("ListPermissionsResponse")(permissions=self.shared[request.parent])

    def _create_permission(self, request: Any) -> Any:
        role = request.permission.Role.Name(request.permission.role)
        made = _permission(request.parent, request.permission.email_address, role)
        self.shared[request.parent].append(made)
        return made

    def _transfer_ownership(self, request: Any) -> Any:
        for each in self.shared[request.name]:
            if each.role == each.OWNER:
                each.role = each.WRITER
        self.shared[request.name].append(_permission(request.name, request.email_address, "OWNER"))
        return raw("TransferOwnershipResponse")()

    def _get_operation(self, request: Any) -> Any:
        return self.operation(request.name.partition("/operations/")[0])

    def _list_operations(self, request: Any) -> Any:
        """The newest first."""
        at, size = int(request.page_token or 0), min(request.page_size or 10, 1000)
        names = self.names[::-1][at : at + size]
        more = str(at + size) if at + size < len(self.names) else ""
        found = [self.operation(name) for name in names]
        return operations_pb2.ListOperationsResponse(operations=found, next_page_token=more)


def _permission(model: str, address: str, role: str) -> Any:
    name = f"{model}/permissions/{address}"
    return raw("Permission")(name=name, email_address=address, grantee_type="USER", role=role)


REQUESTS = {
    f"{V1BETA}.ModelService": {
        name: raw(f"{name}Request")
        for name in (
            "CreateTunedModel",
            "GetTunedModel",
            "ListTunedModels",
            "GetModel",
            "ListModels",
        )
    },
    f"{V1BETA}.PermissionService": {
        name: raw(f"{name}Request")
        for name in ("ListPermissions", "CreatePermission", "TransferOwnership")
    },
    f"{V1BETA}.GenerativeService": {"GenerateContent": raw("GenerateContentRequest")},
    "google.longrunning.Operations": {
        name: getattr(operations_pb2, f"{name}Request")
        for name in ("GetOperation", "ListOperations")
    },
}


async def serve(stub: Stub) -> None:
    server = grpc.aio.server()
    for service, methods in REQUESTS.items():
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                partial(_answer, stub, name), kind.FromString, _bytes
            )
            for name, kind in methods.items()
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    own = {
        "Reset": grpc.unary_unary_rpc_method_handler(partial(_reset, stub)),
        "Stats": grpc.unary_unary_rpc_method_handler(partial(_stats, stub)),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("stub.Stub", own)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready 127.0.0.1:{port}", file=sys.stderr, flush=True)
    await server.wait_for_termination()


async def _answer(stub: Stub, method: str, request: Any, context: grpc.aio.ServicerContext) -> Any:
    answer = stub.answer(method, request)
    if answer is None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "it is not there")
    return answer


def _bytes(message: Any) -> bytes:
    return message.SerializeToString()


async def _reset(stub: Stub, request: bytes, _context: object) -> bytes:
    """Begin anew with so many tunings under way."""
    stub.reset()
    for number in range(int(request or b"0")):
        stub.add(f"tunedModels/m-{number}")
    return b""


async def _stats(stub: Stub, _request: bytes, _context: object) -> bytes:
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {"calls": stub.calls, "most": stub.most, "cpu_s": used.ru_utime + used.ru_stime}
    ends = {f"{name}/operations/1": end for name, end in stub.ends.items()}
    return json.dumps(told | {"ends": ends}).encode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--within", type=float, default=20.0)
    parser.add_argument("--each", type=float, default=0.0)
    chosen = parser.parse_args()
    asyncio.run(serve(Stub(chosen.within, chosen.each)))
