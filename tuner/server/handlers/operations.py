"""Handlers for operations: what became of a tuning."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from google.longrunning import operations_pb2

from tuner import names
from tuner.server import messages
from tuner.server.api_errors import Code, invalid_field, not_found
from tuner.server.handlers import growing, pages, shapes
from tuner.server.store import models, operations, queue

if TYPE_CHECKING:
    from tuner.server.access import Caller
    from tuner.server.handlers.pages import Page
    from tuner.server.messages import Message
    from tuner.server.service import Service
    from tuner.server.store.database import Transaction

PAGE_SIZE = 10
MAX_WAIT_S = 300.0
LOOK_AGAIN_S = 1.0  # a change between a look and the wait for the next one is seen then
ALL = r"(operations|tunedModels/-(/operations)?)?"
_DONE = {"": None, "done=true": True, "done:true": True, "done=false": False, "done:false": False}
CANCELLED = (int(Code.CANCELLED), "The tuning was cancelled.")


async def get_operation(service: Service, _caller: Caller, request: Message) -> Message:
    """GetOperation, from memory: google-generativeai polls without any sleep."""
    topic = service.store.topic(_model(request.name))
    found = await topic.read_tracked(growing.operation, request.name)
    if found is None:
        raise not_found(request.name)
    return found.message


async def list_operations(service: Service, caller: Caller, request: Message) -> Message:
    """ListOperations of one tuned model, or of ``tunedModels/-`` for all of them; the newest first."""
    page = pages.asked(request, caller, PAGE_SIZE, request.name, request.filter)
    done = _done(request.filter)
    model = "" if re.fullmatch(ALL, request.name) else request.name.removesuffix("/operations")
    return await service.store.read_cached(_page, page, model, caller.own_grantees, done)


async def wait_operation(service: Service, caller: Caller, request: Message) -> Message:
    """WaitOperation: answers when the operation is done or the time is over, at most 5 minutes."""
    asked_s = request.timeout.ToMilliseconds() / 1000 if request.HasField("timeout") else MAX_WAIT_S
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(max(asked_s, 0), MAX_WAIT_S)
    while True:
        found = await get_operation(service, caller, request)
        is_over = loop.time() >= deadline or service.calls.draining.is_set()
        if found.done or is_over:
            return found
        await service.store.wait_for_write(min(deadline - loop.time(), LOOK_AGAIN_S))


async def cancel_operation(service: Service, _caller: Caller, request: Message) -> Message:
    """CancelOperation: waiting or running, it ends with CANCELLED; one that is done stays as it is.

    The tuned model may be named in place of its operation: google-genai knows no other name.
    """
    is_model = names.is_tuned_model(request.name)
    model = request.name if is_model else _model(request.name)
    if not is_model and await service.store.read(operations.find, request.name) is None:
        raise not_found(request.name)
    await service.store.topic(model).write(queue.cancel, model, CANCELLED, service.now_ms)
    row = await service.store.read(models.find, model)
    if row is not None:
        await service.scheduler.stop(row.uid)
    return messages.Empty()


async def delete_operation(service: Service, _caller: Caller, request: Message) -> Message:
    """DeleteOperation: forgets the operation; a tuning under way goes on."""
    model = _model(request.name)
    if await service.store.read(operations.find, request.name) is None:
        raise not_found(request.name)
    await service.store.topic(model).write(operations.hide, request.name)
    return messages.Empty()


def _page(
    connection: Transaction, page: Page, model: str, grantees: tuple[str, ...], done: bool | None
) -> Message:
    found = operations.page(connection, model, grantees, done, page.position, page.size + 1)
    shown, token = page.shown([(position, shapes.operation(row)) for position, row in found])
    return operations_pb2.ListOperationsResponse(operations=shown, next_page_token=token)


def _done(text: str) -> bool | None:
    key = text.replace(" ", "").lower()
    if key not in _DONE:
        raise invalid_field("filter", f"{text!r}: only done=true and done=false are understood")
    return _DONE[key]


def _model(name: str) -> str:
    parent = names.operation_parent(name)
    if parent is None:
        raise invalid_field("name", f"{name!r} is not of the form tunedModels/ID/operations/ID")
    return parent
