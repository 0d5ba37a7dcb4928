"""Every field that a client could send is supported or refused by name; a new one is refused."""

from __future__ import annotations

import pytest

from tests.server.asking import ANSWERED, EMBEDDER, TINY, said
from tests.server.room import open_room, refusal
from tuner.server.api_errors import Code
from tuner.server.messages import raw

pytestmark = pytest.mark.slow

# A field, and a value that is served: what is not here must be refused.
SERVED = {
    "GenerateContentRequest": {
        "model": TINY,
        "system_instruction": said("be brief"),
        "contents": [said("x")],
        "safety_settings": [{"category": 7, "threshold": "BLOCK_NONE"}],
        "generation_config": {"temperature": 0.5},
    },
    "GenerationConfig": {
        "candidate_count": 2,
        "stop_sequences": ["x"],
        "max_output_tokens": 3,
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 2,
        "seed": 3,
        "response_mime_type": "application/json",
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "response_logprobs": True,
        "response_modalities": ["TEXT"],
    },
    "Part": {"text": "x"},
    "Content": {"role": "user", "parts": [{"text": "x"}]},
    "EmbedContentRequest": {
        "model": EMBEDDER,
        "content": said("x"),
        "task_type": "CLUSTERING",
        "output_dimensionality": 3,
    },
    "GenerateAnswerRequest": ANSWERED
    | {
        "temperature": 0.5,
        "safety_settings": [{"category": 7, "threshold": "OFF"}],
    },
}
# Served beside others only, each tried in a test of its own.
ELSEWHERE = {
    "GenerationConfig": {
        "logprobs",
        "response_schema",
        "response_json_schema",
        "response_json_schema_ordered",
    },
    "EmbedContentRequest": {"title"},
    "GenerateAnswerRequest": {"semantic_retriever"},
}


def something(field):
    """A value that asks for something."""
    if field.message_type is not None:
        inner = field.message_type._concrete_class()
        fill(inner)
        return [inner] if field.is_repeated else inner
    if field.enum_type is not None:
        return 1
    kinds = {"9": "x", "12": b"x", "8": True}
    return kinds.get(str(field.type), 3)


def fill(message):
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None and not field.is_repeated:
            setattr(message, field.name, something(field))
            return
    field = message.DESCRIPTOR.fields[0]
    if field.message_type.GetOptions().map_entry:
        getattr(message, field.name)["x"].SetInParent()
    elif field.is_repeated:
        getattr(message, field.name).extend(something(field))
    else:
        getattr(message, field.name).CopyFrom(something(field))


def call(kind, name, value):
    """The method that takes a message of this kind, with one field of it set; and where that stands."""
    one = {name: value}
    match kind:
        case "GenerationConfig":
            fields = {"model": TINY, "contents": [said("x")], "generation_config": one}
            return "GenerateContent", fields, f"generation_config.{name}"
        case "Part":
            fields = {"model": TINY, "contents": [{"parts": [one]}]}
            return "GenerateContent", fields, f"contents[0].parts[0].{name}"
        case "Content":
            fields = {"model": TINY, "contents": [{"parts": [{"text": "x"}]} | one]}
            return "GenerateContent", fields, f"contents[0].{name}"
        case "EmbedContentRequest":
            return "EmbedContent", {"model": EMBEDDER, "content": said("x")} | one, name
        case "GenerateAnswerRequest":
            return "GenerateAnswer", ANSWERED | one, name
    return "GenerateContent", {"model": TINY, "contents": [said("x")]} | one, name


@pytest.mark.parametrize("kind", SERVED)
async def test_every_field_is_honoured_or_refused_by_name(tmp_path, kind):
    async with open_room(tmp_path) as room:
        for field in raw(kind).DESCRIPTOR.fields:
            if field.name not in ELSEWHERE.get(kind, ()):
                await tried(room, kind, field)


async def tried(room, kind, field):
    if field.name in SERVED[kind]:
        method, fields, _ = call(kind, field.name, SERVED[kind][field.name])
        await room.call(method, **fields)
        return
    method, fields, place = call(kind, field.name, something(field))
    refused = await refusal(room, method, **fields)
    assert refused.code == Code.INVALID_ARGUMENT
    assert place in [each.field for each in refused.violations]


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [], "tool_config": {}, "cached_content": ""},
        {"tool_config": {"function_calling_config": {}}},
        {"system_instruction": {"parts": [{"text": ""}]}},
        {"system_instruction": {}},
        {"generation_config": {"candidate_count": 1, "thinking_config": {"thinking_budget": 0}}},
        {"generation_config": {"thinking_config": {"include_thoughts": False}}},
        {"generation_config": {"speech_config": {}, "image_config": {}, "media_resolution": 0}},
        {"contents": [{"parts": [{"text": "x", "thought": False, "thought_signature": b""}]}]},
        {"safety_settings": [{"category": 7}]},
    ],
)
async def test_what_asks_for_nothing_is_let_through(tmp_path, fields):
    async with open_room(tmp_path) as room:
        asked = {"model": TINY, "contents": [said("x")]} | fields
        assert (await room.call("GenerateContent", **asked)).candidates
