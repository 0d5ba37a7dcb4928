"""What happens to every call, whichever door it came through: who asks, may they, what came of it."""

from __future__ import annotations

import logging
import secrets
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.engine import EngineError
from tuner.server import access, identity
from tuner.server.refusals import Code, Refused
from tuner.server.store.database import StoreFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from tuner.server.identity import Caller
    from tuner.server.messages import Message
    from tuner.server.methods import Method
    from tuner.server.service import Service

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as a door hands it on.

    Attributes:
        metadata: gRPC metadata or HTTP headers, their names in lower case.
        read: Gives the request, once it is known who asks; raises Refused where the body is wrong.
    """

    method: Method
    metadata: Mapping[str, str]
    read: Callable[[], Awaitable[Message]]


async def answer(service: Service, call: Call) -> Message:
    """The answer to one call. Raises Refused, and nothing else."""
    method, started = call.method, time.monotonic()
    try:
        caller, request = await _admit(service, call)
        response = await method.handler(service, caller, request)  # type: ignore[misc]
    except Exception as error:
        refused = _refused(error)
        _note(method, started, refused)
        raise refused from error
    _note(method, started)
    return response


async def answers(service: Service, call: Call) -> AsyncIterator[Message]:
    """The answers to one streaming call, as they come. Raises Refused, and nothing else."""
    method, started = call.method, time.monotonic()
    try:
        caller, request = await _admit(service, call)
        handling: Any = method.handler(service, caller, request)
        async with aclosing(handling) as responses:
            async for response in responses:
                yield response
    except Exception as error:
        refused = _refused(error)
        _note(method, started, refused)
        raise refused from error
    _note(method, started)


async def _admit(service: Service, call: Call) -> tuple[Caller, Any]:
    caller = await identity.identify(service.store, call.metadata)
    request = await call.read()
    await access.check(service, caller, call.method, request)
    return caller, request


def _refused(error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    if isinstance(error, EngineError) and error.is_request:
        return Refused(Code.INVALID_ARGUMENT, str(error), "MODEL_REFUSES")
    if isinstance(error, EngineError):
        return Refused(Code.UNAVAILABLE, str(error), "MODEL_FAILED", retry_after_s=1.0)
    if isinstance(error, StoreFailed):
        log.error("store failed", extra={"reason": str(error)})
        return Refused(Code.UNAVAILABLE, error.what, "STORE_FAILED", retry_after_s=1.0)
    incident = secrets.token_hex(4)
    log.error("broke", extra={"incident": incident}, exc_info=error)
    text = f"Something broke in the service; its log says what, see {incident}."
    return Refused(Code.INTERNAL, text, "BROKE")


def _note(method: Method, started: float, refused: Refused | None = None) -> None:
    code = refused.code.name if refused else "OK"
    level = logging.DEBUG if method.is_quiet and refused is None else logging.INFO
    ms = round((time.monotonic() - started) * 1000, 1)
    reason = refused.reason if refused else ""
    log.log(
        level,
        method.short_name,
        extra={"method": method.name, "code": code, "ms": ms, "reason": reason},
    )
