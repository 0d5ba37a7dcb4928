"""Handlers that turn text into vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tuner.server import messages
from tuner.server.api_errors import Violation, invalid, invalid_field
from tuner.server.handlers import contents, prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.server.access import Caller
    from tuner.server.messages import Message
    from tuner.server.service import Service

MAX_REQUESTS = 100
_READ = {"model", "content", "task_type", "title", "output_dimensionality"}


async def embed_content(service: Service, _caller: Caller, request: Message) -> Message:
    """EmbedContent: one vector of length 1."""
    embeddings = await _embed(service, request.model, [request], [""])
    return messages.EmbedContentResponse(embedding=embeddings[0])


async def batch_embed_contents(service: Service, _caller: Caller, request: Message) -> Message:
    """BatchEmbedContents: one vector a request, in their order, all by the same model."""
    if not request.requests:
        raise invalid_field("requests", "is empty")
    if len(request.requests) > MAX_REQUESTS:
        what = f"has {len(request.requests)}, at most {MAX_REQUESTS}: send several batches"
        raise invalid_field("requests", what)
    wrong = [
        Violation(f"requests[{at}].model", f"must be {request.model} like the batch's")
        for at, each in enumerate(request.requests)
        if each.model not in {"", request.model}
    ]
    if wrong:
        raise invalid(wrong)
    fields = [f"requests[{at}]." for at in range(len(request.requests))]
    embeddings = await _embed(service, request.model, request.requests, fields)
    return messages.BatchEmbedContentsResponse(embeddings=embeddings)


def shortened(vector: Sequence[float], size: int) -> list[float]:
    """The first ``size`` numbers (0: all), brought back to length 1."""
    kept = list(vector[:size] if size else vector)
    length = math.hypot(*kept) or 1.0
    return [value / length for value in kept]


async def _embed(
    service: Service, model: str, requests: Sequence[Message], fields: Sequence[str]
) -> list[Message]:
    runner = await prompts.find_runner(service, model, "embedContent")
    if runner.adapter is not None:
        raise invalid_field("model", f"{model} is a tuned model: these write, they do not embed")
    wrong = [
        problem
        for each, field in zip(requests, fields, strict=True)
        for problem in _problems(each, field)
    ]
    if wrong:
        raise invalid(wrong)
    vectors = await service.engine.embed(model, [_text(each) for each in requests])
    sizes = [each.output_dimensionality for each in requests]
    wrong = [
        Violation(f"{field}output_dimensionality", f"must be from 1 to {len(vector)}")
        for field, vector, size in zip(fields, vectors, sizes, strict=True)
        if size > len(vector)
    ]
    if wrong:
        raise invalid(wrong)
    return [
        messages.ContentEmbedding(values=shortened(vector, size))
        for vector, size in zip(vectors, sizes, strict=True)
    ]


def _text(request: Message) -> str:
    text = contents.text_of(request.content)
    return f"{request.title}\n{text}" if request.title else text


def _problems(request: Message, field: str) -> list[Violation]:
    # Every task type is served alike: the model makes the same vector for each of them.
    found = contents.unread(request, _READ, field)
    found += contents.part_problems(request.content, f"{field}content")
    if not found and not contents.text_of(request.content):
        found.append(Violation(f"{field}content", "has no text to embed"))
    if request.HasField("output_dimensionality") and request.output_dimensionality < 1:
        found.append(Violation(f"{field}output_dimensionality", "must be 1 or more"))
    types = request.DESCRIPTOR.fields_by_name["task_type"].enum_type
    if request.task_type not in types.values_by_number:
        found.append(Violation(f"{field}task_type", f"{request.task_type} is not known here"))
    if request.title and request.task_type != types.values_by_name["RETRIEVAL_DOCUMENT"].number:
        found.append(Violation(f"{field}title", "goes with task_type RETRIEVAL_DOCUMENT only"))
    return found
