"""A service under fuzz: requests by the number over gRPC and REST, and what came of them."""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from tests.fuzz import requests, send
from tests.server.room import FULL_NAMES, new_model
from tuner.server.messages import raw
from tuner.server.methods import METHODS

AT_ONCE = 8
TIDY_EVERY = 300
SLACK_BYTES = 8_000_000
# Nothing a caller sends may break the service. 501 is UNIMPLEMENTED, told by name; 503 UNAVAILABLE.
BROKEN = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED", "NO ANSWER", "500", "502", "504"}
_EXPECTED = '"level": "info"'
_BUG = re.compile(r"\b[A-Z]\w+(Error|Exception):")


@dataclass
class Outcome:
    """``found`` has the numbers of the requests that broke something, with what came back."""

    statuses: Counter[str] = field(default_factory=Counter)
    found: dict[int, str] = field(default_factory=dict)
    memory: list[tuple[int, int]] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Bytes that the memory grew by in the second half, by a straight line through it."""
        points = self.memory[len(self.memory) // 2 :]
        if len(points) < 3:
            return 0.0
        x, y = ([float(point[axis]) for point in points] for axis in (0, 1))
        mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
        spread = sum((each - mean_x) ** 2 for each in x)
        slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
        return slope * (x[-1] - x[0])


def follow(stream) -> list[str]:
    """The lines of a service's log that tell of something broken, as they come."""
    found: list[str] = []

    def read():
        found.extend(line for line in stream if _EXPECTED not in line)

    threading.Thread(target=read, daemon=True).start()
    return found


async def fuzz(service, seed: int, seconds: float, first: int = 0) -> Outcome:
    """Send requests to a running service until the time is over."""
    outcome, number = Outcome(), first
    until = time.monotonic() + seconds
    async with grpc.aio.insecure_channel(service.address) as channel:
        while time.monotonic() < until and service.process.poll() is None:
            if (number - first) % TIDY_EVERY == 0:
                await tidy(channel)
                outcome.memory.append((number - first, memory(service.process.pid)))
            batch = range(number, number + AT_ONCE)
            await asyncio.gather(*(one(service, channel, seed, each, outcome) for each in batch))
            number += AT_ONCE
        outcome.memory.append((number - first, memory(service.process.pid)))
    return outcome


async def one(service, channel, seed: int, number: int, outcome: Outcome) -> None:
    """Send the request of a number."""
    chance = random.Random(f"{seed} {number}")
    if chance.random() < 0.5:
        request = requests.grpc_request(chance)
        status, text = await send.send_grpc(channel, request)
    else:
        request = requests.http_request(chance)
        status, text = await send.send_http(service.addresses()["rest"], request)
    outcome.statuses[status] += 1
    if status in BROKEN or _BUG.search(text):
        outcome.found[number] = f"{status} {text[:600]}\n  {str(request)[:1200]}"


async def tidy(channel) -> None:
    """Delete what was made, and make sure of the one model that most requests are about."""
    answer = await call(channel, "ListTunedModels", page_size=1000)
    for model in raw("ListTunedModelsResponse").FromString(answer).tuned_models:
        if model.name != requests.MODEL:
            await call(channel, "DeleteTunedModel", name=model.name)
    with suppress(grpc.aio.AioRpcError):  # it is there, or somebody else's by now
        name = requests.MODEL.partition("/")[2]
        await call(channel, "CreateTunedModel", **new_model(name))


async def call(channel, method_name: str, /, **fields):
    method = METHODS[FULL_NAMES[method_name]]
    body = method.request(**fields).SerializeToString()
    return await channel.unary_unary(f"/{method.name}")(body)


def memory(process: int) -> int:
    """Bytes that the process has in memory."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1000


def summary(outcome: Outcome) -> str:
    """What came of it, for people."""
    count = sum(outcome.statuses.values())
    first, last = (outcome.memory[at][1] / 1e6 for at in (0, -1))
    lines = [
        f"{count} requests: {json.dumps(dict(outcome.statuses.most_common()))}",
        f"memory: {first:.0f} MB at first, {last:.0f} MB at last",
        f"the second half of them let it grow by {outcome.growth / 1e6:+.1f} MB",
        f"{len(outcome.found)} requests broke something",
        *(f"- {number}: {what}" for number, what in outcome.found.items()),
    ]
    return "\n".join(lines)
