"""Every field that a client could send is supported or refused by name; a new one is refused."""

from __future__ import annotations

import pytest

from tests.server.handlers.requests import ANSWER_REQUEST, EMBEDDER, TINY, content
from tests.server.room import refusal
from tuner.server.api_errors import Code
from tuner.server.messages import raw

pytestmark = pytest.mark.slow

# Supported fields, each with a valid value: all others must be refused.
SUPPORTED = {
    "GenerateContentRequest": {
        "model": TINY,
        "system_instruction": content("be brief"),
        "contents": [content("x")],
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
        "content": content("x"),
        "task_type": "CLUSTERING",
        "output_dimensionality": 3,
    },
    "GenerateAnswerRequest": ANSWER_REQUEST
    | {
        "temperature": 0.5,
        "safety_settings": [{"category": 7, "threshold": "OFF"}],
    },
}
# Supported only together with others; they have tests elsewhere.
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


def non_default(field):
    """Return a value that is not the default."""
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
            setattr(message, field.name, non_default(field))
            return
    field = message.DESCRIPTOR.fields[0]
    if field.message_type.GetOptions().map_entry:
        getattr(message, field.name)["x"].SetInParent()
    elif field.is_repeated:
        getattr(message, field.name).extend(non_default(field))
    else:
        getattr(message, field.name).CopyFrom(non_default(field))


def call(kind, name, value):
    """Return the method that takes a message of this kind, its request, and the path of the field."""
    one = {name: value}
    match kind:
        case "GenerationConfig":
            fields = {"model": TINY, "contents": [content("x")], "generation_config": one}
            return "GenerateContent", fields, f"generation_config.{name}"
        case "Part":
            fields = {"model": TINY, "contents": [{"parts": [one]}]}
            return "GenerateContent", fields, f"contents[0].parts[0].{name}"
        case "Content":
            fields = {"model": TINY, "contents": [{"parts": [{"text": "x"}]} | one]}
            return "GenerateContent", fields, f"contents[0].{name}"
        case "EmbedContentRequest":
            return "EmbedContent", {"model": EMBEDDER, "content": content("x")} | one, name
        case "GenerateAnswerRequest":
            return "GenerateAnswer", ANSWER_REQUEST | one, name
    return "GenerateContent", {"model": TINY, "contents": [content("x")]} | one, name


@pytest.mark.parametrize("kind", SUPPORTED)
async def test_every_field_is_supported_or_refused_by_name(room, kind):
    for field in raw(kind).DESCRIPTOR.fields:
        if field.name not in ELSEWHERE.get(kind, ()):
            await check_field(room, kind, field)


async def check_field(room, kind, field):
    if field.name in SUPPORTED[kind]:
        method, fields, _ = call(kind, field.name, SUPPORTED[kind][field.name])
        await room.call(method, **fields)
        return
    method, fields, place = call(kind, field.name, non_default(field))
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
        {"safety_settings": [{"category": 7}, {"category": 7, "threshold": "BLOCK_NONE"}]},
        {"generation_config": {"response_mime_type": "text/plain", "response_logprobs": False}},
    ],
)
async def test_fields_with_default_values_are_accepted(room, fields):
    request = {"model": TINY, "contents": [content("x")]} | fields
    assert (await room.call("GenerateContent", **request)).candidates


INVALID_SETTINGS = [
    *(("temperature", 2.5), ("top_p", 0), ("top_k", 0), ("candidate_count", 9), ("logprobs", 3)),
    *(("max_output_tokens", 0), ("max_output_tokens", 10**6), ("response_modalities", [2])),
    *(("stop_sequences", ["a"] * 6), ("stop_sequences", [""])),
    *(("presence_penalty", 2.5), ("frequency_penalty", -2.5)),
]
IMAGE = {"parts": [{"inline_data": {"mime_type": "image/png"}}]}


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("contents", {"contents": []}),
        ("contents[0].role", {"contents": [content("x", "system")]}),
        ("contents[1].role", {"contents": [content("x"), content("y", "model")]}),
        ("contents[0].parts", {"contents": [{"role": "user"}]}),
        ("contents[0].parts[0].inline_data", {"contents": [IMAGE]}),
        ("system_instruction.parts[0].inline_data", {"system_instruction": IMAGE}),
        ("safety_settings[0].threshold", {"safety_settings": [{"threshold": 1}]}),
        *(
            (f"generation_config.{name}", {"generation_config": {name: value}})
            for name, value in INVALID_SETTINGS
        ),
    ],
)
async def test_an_invalid_value_is_refused_by_name(room, field, fields):
    fields = {"model": TINY, "contents": [content("x")]} | fields
    refused = await refusal(room, "GenerateContent", **fields)
    assert refused.code == Code.INVALID_ARGUMENT
    assert [each.field for each in refused.violations] == [field]
