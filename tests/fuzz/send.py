"""Sends a request over gRPC or REST and returns the status and the text of the answer."""

from __future__ import annotations

import asyncio

import grpc

from tuner.server.methods import METHODS

DEADLINE_S = 20.0
# What a caller's own deadline ends is no answer of the service.
SLOW = ("WaitOperation",)


async def send_grpc(channel, request):
    """The code's name and the details of a call; ``OK`` after the last message of a stream."""
    method = METHODS.get(request.method)
    words = {"metadata": request.metadata, "timeout": DEADLINE_S}
    try:
        if method is not None and method.streams:
            async for _ in channel.unary_stream(f"/{request.method}")(request.body, **words):
                pass
        elif method is not None and method.short_name in SLOW:
            await channel.unary_unary(f"/{request.method}")(request.body, **words | {"timeout": 1})
        else:
            await channel.unary_unary(f"/{request.method}")(request.body, **words)
    except grpc.aio.AioRpcError as error:
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED and method.short_name in SLOW:
            return "OK", ""
        return error.code().name, error.details() or ""
    return "OK", ""


async def send_http(address, request):
    """The status of an answer and its body; ``HUNG UP`` where we did not wait for one."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request.raw)
        await writer.drain()
        if not request.waits:
            return "HUNG UP", ""
        if b":wait HTTP" in request.raw.partition(b"\r\n")[0]:
            return "HUNG UP", ""
        # What is no whole request is waited for by the service, as it should be.
        writer.write_eof()
        async with asyncio.timeout(DEADLINE_S):
            answer = await reader.read()
    except (ConnectionResetError, BrokenPipeError):
        return "RESET", ""  # a service may close before it has read all of a request it refuses
    except TimeoutError:
        return "NO ANSWER", ""
    finally:
        writer.close()
    line, _, rest = answer.partition(b"\r\n")
    status = line.split(b" ")[1].decode() if line.count(b" ") > 1 else "CLOSED"
    return status, rest.decode("utf-8", "replace")
