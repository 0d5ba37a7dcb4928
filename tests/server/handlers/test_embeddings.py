"""Vectors of texts."""

from __future__ import annotations

import math

import pytest

from tests.server.handlers.requests import EMBEDDER, TINY, content
from tests.server.room import refusal
from tuner.server.api_errors import Code
from tuner.server.handlers.embeddings import shortened

pytestmark = pytest.mark.slow


async def test_shortened_embeddings_have_length_one(room):
    request = {"model": EMBEDDER, "content": content("hello there")}
    whole = (await room.call("EmbedContent", **request)).embedding.values
    short = (await room.call("EmbedContent", **request, output_dimensionality=4)).embedding
    assert len(whole) == 12
    assert list(short.values) == pytest.approx(shortened(whole, 4))
    assert math.hypot(*short.values) == pytest.approx(1, abs=1e-6)
    for size in (0, 13):
        refused = await refusal(room, "EmbedContent", **request, output_dimensionality=size)
        assert refused.violations[0].field == "output_dimensionality"


async def test_a_batch_is_embedded_in_order_by_one_model(room):
    texts = ["tree", "sea", "stone"]
    requests = [{"model": EMBEDDER, "content": content(text)} for text in texts]
    batch = await room.call("BatchEmbedContents", model=EMBEDDER, requests=requests)
    for each, request in zip(batch.embeddings, requests, strict=True):
        assert (await room.call("EmbedContent", **request)).embedding == each
    requests[1]["model"] = TINY
    fields = {"model": EMBEDDER, "requests": requests}
    refused = await refusal(room, "BatchEmbedContents", **fields)
    assert refused.violations[0].field == "requests[1].model"


@pytest.mark.parametrize(("count", "text"), [(101, "x"), (1, "")])
async def test_too_many_texts_or_an_empty_one_are_refused(room, count, text):
    requests = [{"model": EMBEDDER, "content": content(text)}] * count
    fields = {"model": EMBEDDER, "requests": requests}
    refused = await refusal(room, "BatchEmbedContents", **fields)
    field = "requests" if text else "requests[0].content"
    assert [each.field for each in refused.violations] == [field]


async def test_a_title_needs_the_task_type_of_a_document(room):
    request = {"model": EMBEDDER, "content": content("sea"), "title": "stone"}
    refused = await refusal(room, "EmbedContent", **request)
    assert refused.violations[0].field == "title"
    titled = await room.call("EmbedContent", **request, task_type="RETRIEVAL_DOCUMENT")
    plain = await room.call("EmbedContent", model=EMBEDDER, content=content("sea"))
    assert titled != plain


async def test_an_unsupported_method_is_refused_with_the_supported_ones(room):
    refused = await refusal(room, "EmbedContent", model=TINY, content=content("x"))
    assert "it supports generateContent" in refused.message
    fields = {"model": EMBEDDER, "contents": [content("x")]}
    assert (await refusal(room, "GenerateContent", **fields)).code == Code.INVALID_ARGUMENT
