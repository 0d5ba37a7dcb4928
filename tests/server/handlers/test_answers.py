"""Answers from passages, their sources, and the probability that passages answer a question."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.server.handlers.requests import ANSWER_REQUEST, EMBEDDER, content
from tests.server.room import refusal
from tuner.engine import Form
from tuner.server.handlers import answers
from tuner.server.handlers.answers import WEIGHTS, WORD_WEIGHTS, Match

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("has_embedder", [True, False])
async def test_an_answer_names_its_sources(room, has_embedder):
    room.engine.answer = "the rat"
    if has_embedder:
        room.engine.base_models[answers.EMBEDDER] = EMBEDDER
    response = await room.call("GenerateAnswer", **ANSWER_REQUEST)
    assert text_of_answer(response) == "the rat"
    assert 0.5 < response.answerable_probability <= 1
    assert sources(response) == ["rat"]
    (prompt,) = room.engine.prompts
    assert "A rat ate the cheese" in prompt.turns[-1].text
    assert (prompt.temperature, prompt.form) == (0, None)
    room.engine.answer = "Kings wore purple robes"
    assert sources(await room.call("GenerateAnswer", **ANSWER_REQUEST)) == []


async def test_an_extractive_answer_quotes_a_passage_and_names_it(room):
    room.engine.answer = "the cheese at ten"
    request = ANSWER_REQUEST | {"answer_style": "EXTRACTIVE"}
    assert sources(await room.call("GenerateAnswer", **request)) == ["rat"]
    (prompt,) = room.engine.prompts
    assert prompt.form == Form(sources=("A rat ate the cheese at ten",))


async def test_a_question_that_no_passage_answers_has_a_low_probability(room):
    request = ANSWER_REQUEST | {"contents": [content("Who wrote the opera Tosca?")]}
    response = await room.call("GenerateAnswer", **request)
    assert response.answerable_probability < 0.1
    assert text_of_answer(response)


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
            {"inline_passages": {"passages": [{"id": "a", "content": content(" ")}]}},
        ),
        (
            "inline_passages.passages[0].id",
            {"inline_passages": {"passages": [{"content": content("x")}]}},
        ),
    ],
)
async def test_an_invalid_question_is_refused_by_field(room, field, changes):
    refused = await refusal(room, "GenerateAnswer", **ANSWER_REQUEST | changes)
    assert [each.field for each in refused.violations] == [field]


DATA = Path(__file__).parents[3] / "datasets" / "questions.jsonl"
RAT, TREE = "A rat ate the cheese at ten. It slept.", "Larches drop their needles in autumn."


def compared(texts, passages, embed=None):
    return asyncio.run(answers.compare(texts, passages, embed))


def chance(question, *passages):
    (matches,) = compared([question], passages)
    return answers.probability(matches, WORD_WEIGHTS)


def test_words_alone_distinguish_answerable_questions():
    topics = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
    chances = {
        kind: [chance(question, topic["passage"]) for topic in topics for question in topic[kind]]
        for kind in ("answerable", "unanswerable")
    }
    pairs = [(yes, no) for yes in chances["answerable"] for no in chances["unanswerable"]]

    assert sum(yes > no for yes, no in pairs) / len(pairs) > 0.8


def test_the_order_of_passages_does_not_matter():
    question = "Which rat ate the cheese?"

    assert chance(question, RAT, TREE) == chance(question, TREE, RAT) > 0.9
    assert chance(question, TREE) < 0.1


def test_sentences_are_compared_one_by_one():
    axes = {"cheese?": [1.0, 0.0], "A rat ate the cheese at ten.": [0.6, 0.8]}

    async def embed(texts):
        return [axes.get(text, [0.0, 1.0]) for text in texts]

    ((match, other),) = compared(["cheese?"], [RAT, TREE], embed)

    assert match == Match(similarity=pytest.approx(0.6), coverage=1.0)
    assert other == Match(similarity=0.0, coverage=0.0)


@pytest.mark.parametrize(
    ("passage", "parts"),
    [
        ("One. Two! Three? 4.1 metres", ["One.", "Two!", "Three?", "4.1 metres"]),
        ("a title\n\nand a line", ["a title", "and a line"]),
        ("  ", []),
    ],
)
def test_passages_are_split_into_sentences(passage, parts):
    assert answers.sentences(passage) == parts


def test_sources_are_the_passages_close_to_the_best_match():
    same, near, far = Match(0.9, 1.0), Match(0.85, 0.9), Match(0.3, 0.2)

    assert answers.find_sources([same, far], WEIGHTS) == [True, False]
    assert answers.find_sources([near, same], WEIGHTS) == [False, True]
    assert answers.find_sources([far, far], WEIGHTS) == [False, False]


def test_a_short_answer_is_compared_together_with_its_question():
    assert answers.claim("When did it rain?", "1957") == "When did it rain? 1957"
    assert answers.claim("q", "Herons eat marsh frogs") == "Herons eat marsh frogs"


def test_only_the_best_sentences_may_be_quoted():
    parts = ["Ada opened the bakery.", "The bakery started with twelve people.", "It rains."]
    matches = [Match(0.8, 0.5), Match(0.5, 0.9), Match(0.1, 0.0)]
    assert answers.quotable(parts, matches, WEIGHTS) == parts[:2]
    assert answers.quotable(parts, matches, WORD_WEIGHTS) == parts[1:2]
