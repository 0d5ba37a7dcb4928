"""The methods of google.longrunning.Operations: the state of tunings."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from google.longrunning import operations_pb2

from tuner import names
from tuner.server import messages
from tuner.server.api_errors import Code, invalid_field, not_found
from tuner.server.handlers import converters
from tuner.server.handlers.paging import parse_page
from tuner.server.store import models, operations, queue

if TYPE_CHECKING:
    from tuner.server.access import Caller
    from tuner.server.handlers.paging import Page
    from tuner.server.messages import Message
    from tuner.server.service import Service
    from tuner.server.store.database import Transaction

PAGE_SIZE = 10
MAX_WAIT_S = 300.0
RECHECK_S = 1.0  # a write between a check and the wait for the next one is seen then
ALL = r"(operations|tunedModels/-(/operations)?)?"
CANCELLED = (int(Code.CANCELLED), "The tuning was cancelled.")
_DONE = {"": None, "done=true": True, "done:true": True, "done=false": False, "done:false": False}


async def get_operation(service: Service, _caller: Caller, request: Message) -> Message:
    """Return an operation, usually from the cache: google-generativeai polls without pauses."""
    model = _model_of(request.name)
    found = await service.store.read_cached(_find, request.name, topic=model)
    if found is None:
        raise not_found(request.name)
    return found


async def list_operations(service: Service, caller: Caller, request: Message) -> Message:
    """List the operations of one tuned model, or of all (``tunedModels/-``), newest first."""
    page = parse_page(request, caller, PAGE_SIZE, request.name, request.filter)
    key = request.filter.replace(" ", "").lower()
    if key not in _DONE:
        what = f"{request.filter!r}: only done=true and done=false are supported"
        raise invalid_field("filter", what)
    model = "" if re.fullmatch(ALL, request.name) else request.name.removesuffix("/operations")
    return await service.store.read_cached(_list, page, model, caller.own_grantees, _DONE[key])


async def wait_operation(service: Service, caller: Caller, request: Message) -> Message:
    """Return an operation when it is done, or after the timeout of at most 5 minutes."""
    loop = asyncio.get_running_loop()
    has_timeout = request.HasField("timeout")
    timeout_s = request.timeout.ToMilliseconds() / 1000 if has_timeout else MAX_WAIT_S
    deadline = loop.time() + min(max(timeout_s, 0), MAX_WAIT_S)
    while True:
        found = await get_operation(service, caller, request)
        is_over = loop.time() >= deadline or service.calls.draining.is_set()
        if found.done or is_over:
            return found
        await service.store.wait_for_write(min(deadline - loop.time(), RECHECK_S))


async def cancel_operation(service: Service, _caller: Caller, request: Message) -> Message:
    """End a tuning that waits or runs with CANCELLED; one that is done stays unchanged.

    The name may be the tuned model's: google-genai does not know the operation's.
    """
    is_model = names.is_tuned_model(request.name)
    model = request.name if is_model else _model_of(request.name)
    if not is_model and await service.store.read(operations.find, request.name) is None:
        raise not_found(request.name)
    await service.store.write(queue.cancel, model, CANCELLED, service.now_ms, topic=model)
    row = await service.store.read(models.find, model)
    if row is not None:
        await service.scheduler.stop(row.uid)
    return messages.Empty()


async def delete_operation(service: Service, _caller: Caller, request: Message) -> Message:
    """Hide an operation; its tuning goes on."""
    model = _model_of(request.name)
    if await service.store.read(operations.find, request.name) is None:
        raise not_found(request.name)
    await service.store.write(operations.hide, request.name, topic=model)
    return messages.Empty()


def _find(connection: Transaction, name: str) -> Message | None:
    row = operations.find(connection, name)
    return None if row is None else converters.operation(row)


def _list(
    connection: Transaction, page: Page, model: str, grantees: tuple[str, ...], done: bool | None
) -> Message:
    found = operations.page(connection, model, grantees, done, page.position, page.size + 1)
    listed, token = page.cut([(position, converters.operation(row)) for position, row in found])
    return operations_pb2.ListOperationsResponse(operations=listed, next_page_token=token)


def _model_of(name: str) -> str:
    parent = names.operation_parent(name)
    if parent is None:
        raise invalid_field("name", f"{name!r} is not of the form tunedModels/ID/operations/ID")
    return parent
