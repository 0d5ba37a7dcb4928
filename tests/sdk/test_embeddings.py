"""Google's unmodified clients turn text into vectors with the packaged model."""

from __future__ import annotations

import asyncio
import math

import pytest
from google.ai import generativelanguage_v1beta as gl

from tests.sdk.process import google_clients, serving

pytestmark = [pytest.mark.slow, pytest.mark.model]
MODEL = "models/all-minilm-l6-v2"


def content(text):
    return gl.Content(parts=[gl.Part(text=text)])


def product(one, other):
    return sum(a * b for a, b in zip(one.values, other.values, strict=True))


async def embed(address):
    async with google_clients(address) as clients:
        texts = ["A cat sat on the mat.", "A kitten rested on the rug.", "Stocks fell on Monday."]
        requests = [gl.EmbedContentRequest(model=MODEL, content=content(text)) for text in texts]
        batch = await clients.generative.batch_embed_contents(model=MODEL, requests=requests)
        cat, kitten, stocks = batch.embeddings
        assert product(cat, kitten) > product(cat, stocks) + 0.2
        alone = await clients.generative.embed_content(model=MODEL, content=content(texts[0]))
        assert product(alone.embedding, cat) == pytest.approx(1, abs=1e-3)
        short = await clients.generative.embed_content(
            gl.EmbedContentRequest(model=MODEL, content=content(texts[0]), output_dimensionality=64)
        )
        assert len(short.embedding.values) == 64
        assert math.hypot(*short.embedding.values) == pytest.approx(1, abs=1e-5)


def test_the_official_client_embeds_one_text_and_many(tmp_path):
    with serving(tmp_path / "home") as service:
        asyncio.run(embed(service.address))
