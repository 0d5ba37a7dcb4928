"""Waits for tunings to end and says when it heard of each: python follow.py WAY ADDRESS COUNT INTERVAL_S."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from meter import measured, tell

if TYPE_CHECKING:
    from collections.abc import Callable

    Heard = dict[str, float]

STACK_BYTES = 256 * 1024


def tuner(address: str, names: list[str], interval_s: float) -> Callable[[], Heard]:
    """All of them by one follower."""
    from tuner.jobs.poller import MIN_POLL_S, Poller
    from tuner.jobs.runner import Timing
    from tuner.targets import open_target
    from tuner.types import TargetConfig

    import_module("tuner.targets.local")  # otherwise loaded when it is opened

    async def one(follower: Poller, name: str, heard: Heard) -> None:
        while not (await follower.operation(name)).done:
            await follower.news(name)
        heard[name] = time.monotonic()

    async def every() -> Heard:
        heard: Heard = {}
        async with open_target(TargetConfig("local", endpoint=address)) as target:
            follower = Poller(target, Timing(poll_s=interval_s), MIN_POLL_S["local"])
            await asyncio.gather(*(one(follower, name, heard) for name in names))
            await follower.close()
        return heard

    return lambda: asyncio.run(every())


def api_core(address: str, names: list[str], interval_s: float) -> Callable[[], Heard]:
    """A task each, as google-api-core's AsyncOperation.result() does it."""
    from google.ai import generativelanguage_v1beta as gl
    from google.api_core import operation_async, operations_v1, retry_async
    from google.api_core.future import async_future

    polling = retry_async.AsyncRetry(
        async_future.RETRY_PREDICATE,
        initial=interval_s,
        maximum=interval_s,
        multiplier=1,
        timeout=None,
    )

    async def one(client: Any, name: str, heard: Heard) -> None:
        begun = await client.get_operation(name)
        waiting = operation_async.from_gapic(begun, client, gl.TunedModel, retry=polling)
        await waiting.result()
        heard[name] = time.monotonic()

    async def every() -> Heard:
        heard: Heard = {}
        async with grpc.aio.insecure_channel(address) as channel:
            client = operations_v1.OperationsAsyncClient(channel)
            await asyncio.gather(*(one(client, name, heard) for name in names))
        return heard

    return lambda: asyncio.run(every())


def threads(address: str, names: list[str], interval_s: float) -> Callable[[], Heard]:
    """A thread each."""
    heard: Heard = {}

    def one(stub: Any, name: str) -> None:
        time.sleep(random.random() * interval_s)
        while not stub.GetOperation(operations_pb2.GetOperationRequest(name=name)).done:
            time.sleep(interval_s * random.uniform(0.8, 1.2))
        heard[name] = time.monotonic()

    def every() -> Heard:
        threading.stack_size(STACK_BYTES)
        with grpc.insecure_channel(address) as channel:
            stub = operations_pb2_grpc.OperationsStub(channel)
            waiting = [threading.Thread(target=one, args=(stub, name)) for name in names]
            for each in waiting:
                each.start()
            for each in waiting:
                each.join()
        return heard

    return every


if __name__ == "__main__":
    way, address, count, interval_s = sys.argv[1:]
    names = [f"tunedModels/m-{number}/operations/1" for number in range(int(count))]
    work = {"tuner": tuner, "api_core": api_core, "threads": threads}[way]
    heard, costs = measured(work(address, names, float(interval_s)))
    tell(costs, heard)
