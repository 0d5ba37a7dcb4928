from __future__ import annotations

import asyncio

import pytest

from tests.server.asking import ANSWERED, EMBEDDER, said
from tests.server.room import open_room, refusal
from tuner.engine import Form
from tuner.server.handlers import grounding

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("has_embedder", [True, False])
def test_an_answer_names_the_passages_it_rests_on(tmp_path, has_embedder):
    async def go():
        async with open_room(tmp_path) as room:
            room.engine.answer = "the rat"
            if has_embedder:
                room.engine.base_models[grounding.EMBEDDER] = EMBEDDER
            response = await room.call("GenerateAnswer", **ANSWERED)
            assert text_of_answer(response) == "the rat"
            assert 0.5 < response.answerable_probability <= 1
            assert sources(response) == ["rat"]
            (prompt,) = room.engine.prompts
            assert "A rat ate the cheese" in prompt.turns[-1].text
            assert (prompt.temperature, prompt.form) == (0, None)
            room.engine.answer = "Kings wore purple robes"
            assert sources(await room.call("GenerateAnswer", **ANSWERED)) == []

    asyncio.run(go())


def test_an_extractive_answer_is_held_to_the_sentences_and_names_where_it_stands(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            room.engine.answer = "the cheese at ten"
            asked = ANSWERED | {"answer_style": "EXTRACTIVE"}
            assert sources(await room.call("GenerateAnswer", **asked)) == ["rat"]
            (prompt,) = room.engine.prompts
            assert prompt.form == Form(sources=("A rat ate the cheese at ten",))

    asyncio.run(go())


def test_a_question_that_no_passage_answers_is_answered_with_little_confidence(tmp_path):
    async def go():
        async with open_room(tmp_path) as room:
            asked = ANSWERED | {"contents": [said("Who wrote the opera Tosca?")]}
            response = await room.call("GenerateAnswer", **asked)
            assert response.answerable_probability < 0.1
            assert text_of_answer(response)

    asyncio.run(go())


def sources(response):
    found = response.answer.grounding_attributions
    return [each.source_id.grounding_passage.passage_id for each in found]


def text_of_answer(response):
    return response.answer.content.parts[0].text


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("inline_passages.passages", {"inline_passages": {}}),
        ("answer_style", {"answer_style": 0}),
        ("temperature", {"temperature": 1.5}),
        ("contents", {"contents": []}),
        (
            "inline_passages.passages",
            {"inline_passages": {"passages": [{"id": "a", "content": said(" ")}]}},
        ),
        (
            "inline_passages.passages[0].id",
            {"inline_passages": {"passages": [{"content": said("x")}]}},
        ),
    ],
)
def test_a_question_without_what_it_needs_is_refused(tmp_path, field, changes):
    async def go():
        async with open_room(tmp_path) as room:
            refused = await refusal(room, "GenerateAnswer", **ANSWERED | changes)
            assert [each.field for each in refused.violations] == [field]

    asyncio.run(go())
