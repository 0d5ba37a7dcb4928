"""Requests that several tests of the generative methods send."""

from __future__ import annotations

TINY, EMBEDDER = "models/tiny", "models/embedder"


def content(text, role="user"):
    return {"role": role, "parts": [{"text": text}]}


ANSWER_REQUEST = {
    "model": TINY,
    "contents": [content("Which rat ate the cheese?")],
    "answer_style": "ABSTRACTIVE",
    "inline_passages": {
        "passages": [
            {"id": "fun", "content": content("Uuu ddd hhh llll")},
            {"id": "rat", "content": content("A rat ate the cheese at ten")},
        ]
    },
}
