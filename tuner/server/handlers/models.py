"""Handlers for the base models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.server import messages
from tuner.server.api_errors import invalid_field, not_found
from tuner.server.handlers import pages, shapes

if TYPE_CHECKING:
    from tuner.engine import BaseModel
    from tuner.server.access import Caller
    from tuner.server.messages import Message
    from tuner.server.service import Service

PAGE_SIZE = 50


async def list_models(service: Service, caller: Caller, request: Message) -> Message:
    """ListModels, by name."""
    page = pages.asked(request, caller, PAGE_SIZE)
    names = sorted(service.engine.base_models)
    last = page.position + page.size
    shown = [
        shapes.base_model(service.engine.base_models[name]) for name in names[page.position : last]
    ]
    token = page.next_token(last) if last < len(names) else ""
    return messages.ListModelsResponse(models=shown, next_page_token=token)


async def get_model(service: Service, _caller: Caller, request: Message) -> Message:
    """GetModel."""
    return shapes.base_model(find(service, request.name, "name"))


def find(service: Service, name: str, field: str) -> BaseModel:
    """One base model; ``field`` is where the request names it. Raises ApiError."""
    if not name.startswith("models/"):
        raise invalid_field(field, f"{name!r} is not of the form models/ID")
    model = service.engine.base_models.get(name)
    if model is None:
        known = ", ".join(sorted(service.engine.base_models))
        raise not_found(name, f" here; there are {known}, and `tuner serve --base-model` adds more")
    return model
