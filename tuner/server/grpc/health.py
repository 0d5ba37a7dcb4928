"""grpc.health.v1: whether the service can be sent calls, for those who watch it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2

from tuner.server.methods import METHODS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tuner.server.service import Service

NAME = "grpc.health.v1.Health"
LOOK_EVERY_S = 5.0
SERVICES = frozenset({"", *(name.partition("/")[0] for name in METHODS)})
_Answer, _Answers = health_pb2.HealthCheckResponse, health_pb2.HealthListResponse


def handlers(service: Service) -> Mapping[str, Any]:
    """The methods of grpc.health.v1.Health, by their paths; they ask for no key."""

    async def check(request: Any, context: Any) -> Any:
        if request.service not in SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {request.service} here")
        return await _status(service)

    async def watch(request: Any, _context: Any) -> AsyncIterator[Any]:
        if request.service not in SERVICES:
            yield _Answer(status=_Answer.SERVICE_UNKNOWN)
            return
        async for each in _changes(service):
            yield each

    async def list_(_request: Any, _context: Any) -> Any:
        status = await _status(service)
        return _Answers(statuses=dict.fromkeys(SERVICES, status))

    asked = health_pb2.HealthCheckRequest.FromString, _Answer.SerializeToString
    listed = health_pb2.HealthListRequest.FromString, _Answers.SerializeToString
    return {
        f"/{NAME}/Check": grpc.unary_unary_rpc_method_handler(check, *asked),
        f"/{NAME}/Watch": grpc.unary_stream_rpc_method_handler(watch, *asked),
        f"/{NAME}/List": grpc.unary_unary_rpc_method_handler(list_, *listed),
    }


async def _status(service: Service) -> Any:
    return _Answer(status=_Answer.NOT_SERVING if await service.problem() else _Answer.SERVING)


async def _changes(service: Service) -> AsyncIterator[Any]:
    """The state, then each change; ends after the one that cannot change again."""
    last, draining = None, service.activity.draining
    while True:
        over = draining.is_set()
        status = await _status(service)
        if status != last:
            yield status
        if over:
            return
        last = status
        try:
            await asyncio.wait_for(draining.wait(), LOOK_EVERY_S)
        except TimeoutError:
            continue
