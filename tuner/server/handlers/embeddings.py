"""EmbedContent and BatchEmbedContents."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tuner.server import messages
from tuner.server.api_errors import Violation, invalid, invalid_field
from tuner.server.handlers.converters import unsupported_fields
from tuner.server.handlers.models import find_served_model
from tuner.server.handlers.prompts import part_problems, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.server.access import Caller
    from tuner.server.messages import Message
    from tuner.server.service import Service

MAX_REQUESTS = 100
_SUPPORTED = {"model", "content", "task_type", "title", "output_dimensionality"}


async def embed_content(service: Service, _caller: Caller, request: Message) -> Message:
    """Return one vector of length 1."""
    embeddings = await _embed(service, request.model, [request], [""])
    return messages.EmbedContentResponse(embedding=embeddings[0])


async def batch_embed_contents(service: Service, _caller: Caller, request: Message) -> Message:
    """Return one vector per request, in their order, all by the same model."""
    requests = request.requests
    if not requests:
        raise invalid_field("requests", "is empty")
    if len(requests) > MAX_REQUESTS:
        what = f"has {len(requests)}, at most {MAX_REQUESTS}: send several batches"
        raise invalid_field("requests", what)
    wrong = [
        Violation(f"requests[{at}].model", f"must be {request.model} like the batch's")
        for at, each in enumerate(requests)
        if each.model not in {"", request.model}
    ]
    if wrong:
        raise invalid(wrong)
    prefixes = [f"requests[{at}]." for at in range(len(requests))]
    embeddings = await _embed(service, request.model, requests, prefixes)
    return messages.BatchEmbedContentsResponse(embeddings=embeddings)


def shortened(vector: Sequence[float], size: int) -> list[float]:
    """Return the first ``size`` numbers (0: all), scaled to length 1."""
    kept = list(vector[:size] if size else vector)
    length = math.hypot(*kept) or 1.0
    return [value / length for value in kept]


async def _embed(
    service: Service, model: str, requests: Sequence[Message], prefixes: Sequence[str]
) -> list[Message]:
    served = await find_served_model(service, model, "embedContent")
    if served.adapter is not None:
        raise invalid_field("model", f"{model} is a tuned model, and these do not embed")
    pairs = list(zip(requests, prefixes, strict=True))
    wrong = [problem for each, prefix in pairs for problem in _problems(each, prefix)]
    if wrong:
        raise invalid(wrong)
    texts = [
        f"{each.title}\n{text_of(each.content)}" if each.title else text_of(each.content)
        for each in requests
    ]
    vectors = await service.engine.embed(model, texts)
    wrong = [
        Violation(f"{prefix}output_dimensionality", f"must be from 1 to {len(vector)}")
        for (each, prefix), vector in zip(pairs, vectors, strict=True)
        if each.output_dimensionality > len(vector)
    ]
    if wrong:
        raise invalid(wrong)
    return [
        messages.ContentEmbedding(values=shortened(vector, each.output_dimensionality))
        for each, vector in zip(requests, vectors, strict=True)
    ]


def _problems(request: Message, prefix: str) -> list[Violation]:
    # The models make the same vector for every task type.
    found = unsupported_fields(request, _SUPPORTED, prefix)
    found += part_problems(request.content, f"{prefix}content")
    if not found and not text_of(request.content):
        found.append(Violation(f"{prefix}content", "has no text to embed"))
    if request.HasField("output_dimensionality") and request.output_dimensionality < 1:
        found.append(Violation(f"{prefix}output_dimensionality", "must be 1 or more"))
    types = request.DESCRIPTOR.fields_by_name["task_type"].enum_type
    if request.task_type not in types.values_by_number:
        found.append(Violation(f"{prefix}task_type", f"{request.task_type} is not known here"))
    if request.title and request.task_type != types.values_by_name["RETRIEVAL_DOCUMENT"].number:
        found.append(Violation(f"{prefix}title", "goes with task_type RETRIEVAL_DOCUMENT only"))
    return found
