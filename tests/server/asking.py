"""What several tests of the generative methods ask."""

from __future__ import annotations

TINY, EMBEDDER = "models/tiny", "models/embedder"


def said(text, role="user"):
    return {"role": role, "parts": [{"text": text}]}


ANSWERED = {
    "model": TINY,
    "contents": [said("Which rat ate the cheese?")],
    "answer_style": "ABSTRACTIVE",
    "inline_passages": {
        "passages": [
            {"id": "fun", "content": said("Uuu ddd hhh llll")},
            {"id": "rat", "content": said("A rat ate the cheese at ten")},
        ]
    },
}
