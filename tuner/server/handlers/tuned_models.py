"""Handlers that read, edit and delete tuned models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.server import messages
from tuner.server.api_errors import hidden
from tuner.server.handlers import filters, growing, pages, shapes
from tuner.server.handlers.model_fields import checked_changes
from tuner.server.store import models

if TYPE_CHECKING:
    from tuner.server.access import Caller
    from tuner.server.handlers.pages import Page
    from tuner.server.messages import Message
    from tuner.server.service import Service
    from tuner.server.store.database import Transaction

PAGE_SIZE = 10


async def get_tuned_model(service: Service, _caller: Caller, request: Message) -> Message:
    """GetTunedModel."""
    return await _now(service, request.name)


async def list_tuned_models(service: Service, caller: Caller, request: Message) -> Message:
    """ListTunedModels, the newest first: ours and those shared with us, but with everyone only if asked."""
    page = pages.asked(request, caller, PAGE_SIZE, request.filter)
    query = filters.parse(request.filter, caller.own_grantees)
    return await service.store.read(_page, page, query)


async def update_tuned_model(service: Service, _caller: Caller, request: Message) -> Message:
    """UpdateTunedModel: display_name, description, temperature, top_p, top_k."""
    name = request.tuned_model.name
    row = await service.store.read(models.find, name)
    if row is None:
        raise hidden(name)
    base = service.engine.base_models.get(row.base_model)
    changes = checked_changes(request.tuned_model, list(request.update_mask.paths), row, base)
    if changes:
        await service.store.topic(name).write(models.update, name, changes, service.now_ms)
    return await _now(service, name)


async def delete_tuned_model(service: Service, _caller: Caller, request: Message) -> Message:
    """DeleteTunedModel: a tuning still under way is cancelled, everything about the model goes."""
    row = await service.store.read(models.find, request.name)
    await service.store.topic(request.name).write(models.delete, request.name)
    if row is not None:
        await service.scheduler.stop(row.uid)
    await service.scheduler.remove_unused_folders()
    return messages.Empty()


def _page(connection: Transaction, page: Page, query: models.ModelQuery) -> Message:
    found = models.page(connection, query, page.position, page.size + 1)
    shaped = [(position, shapes.tuned_model(row, steps)) for position, row, steps in found]
    shown, token = page.shown(shaped)
    return messages.ListTunedModelsResponse(tuned_models=shown, next_page_token=token)


async def _now(service: Service, name: str) -> Message:
    found = await service.store.topic(name).read_tracked(growing.tuned_model, name)
    if found is None:
        raise hidden(name)
    return found.message
