"""What happens to every call, whichever door it came through: who asks, may they, what came of it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.engine import EngineError
from tuner.server import metrics
from tuner.server.access import identity, roles
from tuner.server.refusals import Code, Refused
from tuner.server.store.database import StoreFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping

    from tuner.server.access.identity import Caller
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
    with _noted(service, call.method) as who:
        caller = await _caller(service, call)
        who.append(caller.key_id)
        with service.in_flight.call(caller, service.limits.in_flight):
            request = await _request(service, caller, call)
            return await call.method.handler(service, caller, request)  # type: ignore[misc]


async def answers(service: Service, call: Call) -> AsyncGenerator[Message, None]:
    """The answers to one streaming call, as they come. Raises Refused, and nothing else."""
    with _noted(service, call.method) as who:
        caller = await _caller(service, call)
        who.append(caller.key_id)
        with service.in_flight.call(caller, service.limits.in_flight):
            request = await _request(service, caller, call)
            handling: Any = call.method.handler(service, caller, request)
            async with aclosing(handling) as responses:
                async for response in responses:
                    yield response


@contextmanager
def _noted(service: Service, method: Method) -> Iterator[list[str]]:
    """Count and log what the block does; it puts down the id of the caller's key."""
    started, who = time.monotonic(), list[str]()
    code, reason = "OK", ""
    with service.activity.call():
        try:
            yield who
        except (asyncio.CancelledError, GeneratorExit) as hung_up:
            code, reason = "CANCELLED", "HUNG_UP"
            if service.activity.is_over:
                refused = _stopping()
                code, reason = refused.code.name, refused.reason
                raise refused from hung_up
            raise
        except Exception as error:
            refused = _refused(error)
            code, reason = refused.code.name, refused.reason
            raise refused from error
        finally:
            seconds = time.monotonic() - started
            metrics.note_call(method.short_name, code, seconds)
            _log(method, who, code, reason, seconds)


def _stopping() -> Refused:
    text = "The service is stopping; ask again when it, or another one, is there."
    return Refused(Code.UNAVAILABLE, text, "STOPPING", retry_after_s=1.0)


async def _caller(service: Service, call: Call) -> Caller:
    if service.activity.draining.is_set():
        raise _stopping()
    return await identity.identify(service.store, call.metadata, wants_keys=service.wants_keys)


async def _request(service: Service, caller: Caller, call: Call) -> Any:
    request = await call.read()
    await roles.check(service, caller, call.method, request)
    return request


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


def _log(method: Method, who: list[str], code: str, reason: str, seconds: float) -> None:
    level = logging.DEBUG if method.is_quiet and not reason else logging.INFO
    if log.isEnabledFor(level):
        said = {"method": method.name, "key": "".join(who), "code": code, "reason": reason}
        log.log(level, method.short_name, extra=said | {"ms": round(seconds * 1000, 1)})
