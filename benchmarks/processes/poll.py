"""A client that polls one operation and prints the seconds of every call: python poll.py DOOR ADDRESS NAME CALLS."""

from __future__ import annotations

import http.client
import json
import sys
import time

import grpc
from google.longrunning import operations_pb2

GET = "/google.longrunning.Operations/GetOperation"


def poll_grpc(address: str, name: str, calls: int) -> list[float]:
    with grpc.insecure_channel(address) as channel:
        get = channel.unary_unary(GET)
        request = operations_pb2.GetOperationRequest(name=name).SerializeToString()
        return [timed(lambda: get(request)) for _ in range(calls)]


def poll_rest(address: str, name: str, calls: int) -> list[float]:
    link = http.client.HTTPConnection(address)

    def get() -> None:
        link.request("GET", f"/v1beta/{name}")
        link.getresponse().read()

    return [timed(get) for _ in range(calls)]


def timed(work: object) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    door, address, name, calls = sys.argv[1:]
    poll = {"grpc": poll_grpc, "rest": poll_rest}[door]
    print(json.dumps(poll(address, name, int(calls))))
