"""ListModels and GetModel, and the lookup of the model that a request runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.server import messages
from tuner.server.api_errors import ApiError, Code, hidden, invalid_field, not_found
from tuner.server.handlers import converters
from tuner.server.handlers.paging import parse_page
from tuner.server.store import models
from tuner.types import State

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.engine import BaseModel
    from tuner.server.access import Caller
    from tuner.server.messages import Message
    from tuner.server.service import Service

PAGE_SIZE = 50


async def list_models(service: Service, caller: Caller, request: Message) -> Message:
    """List the base models by name."""
    page = parse_page(request, caller, PAGE_SIZE)
    known = service.engine.base_models
    names = sorted(known)
    last = page.position + page.size
    listed = [converters.base_model(known[name]) for name in names[page.position : last]]
    token = page.next_token(last) if last < len(names) else ""
    return messages.ListModelsResponse(models=listed, next_page_token=token)


async def get_model(service: Service, _caller: Caller, request: Message) -> Message:
    """Return a base model."""
    return converters.base_model(_find_base_model(service, request.name, "name"))


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A base model, or a tuned model with its own weights and sampling defaults."""

    name: str
    base: BaseModel
    temperature: float
    top_p: float
    top_k: int
    adapter: Path | None = None

    @property
    def version(self) -> str:
        """The ``model_version`` of responses."""
        return self.name if self.adapter else f"{self.name}-{self.base.version}"


async def find_served_model(
    service: Service, name: str, method: str = "generateContent"
) -> ServedModel:
    """Return the model that a request names, which the caller may use.

    Raises:
        ApiError: The model does not exist, is not ACTIVE, or does not support ``method``.
    """
    if not name.startswith("tunedModels/"):
        base = _find_base_model(service, name, "model")
        if method not in base.methods:
            supported = ", ".join(base.methods) or "nothing"
            what = f"{name} does not support {method}; it supports {supported}"
            raise invalid_field("model", what)
        return ServedModel(name, base, base.temperature, base.top_p, base.top_k)
    row = await service.store.read_cached(models.find, name)
    if row is None:
        raise hidden(name)
    if row.state != State.ACTIVE:
        text = f"{name} is {row.state}; only an ACTIVE model answers."
        raise ApiError(Code.FAILED_PRECONDITION, text, "NOT_ACTIVE")
    base = _find_base_model(service, row.base_model, "model")
    weights = service.adapter(row.uid)
    return ServedModel(name, base, row.temperature, row.top_p, row.top_k, weights)


def _find_base_model(service: Service, name: str, field: str) -> BaseModel:
    if not name.startswith("models/"):
        raise invalid_field(field, f"{name!r} is not of the form models/ID")
    model = service.engine.base_models.get(name)
    if model is None:
        known = ", ".join(sorted(service.engine.base_models))
        raise not_found(name, f" here; there are {known}, and `tuner serve --base-model` adds more")
    return model
