from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tuner.server.handlers import grounding
from tuner.server.handlers.grounding import WEIGHTS, WORD_WEIGHTS, Match

DATA = Path(__file__).parents[2] / "datasets" / "questions.jsonl"
RAT, TREE = "A rat ate the cheese at ten. It slept.", "Larches drop their needles in autumn."


def compared(texts, passages, embed=None):
    return asyncio.run(grounding.compare(texts, passages, embed))


def chance(question, *passages):
    (matches,) = compared([question], passages)
    return grounding.probability(matches, WORD_WEIGHTS)


def test_questions_that_passages_answer_are_told_from_those_they_do_not_by_words_alone():
    topics = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
    chances = {
        kind: [chance(question, topic["passage"]) for topic in topics for question in topic[kind]]
        for kind in ("answerable", "unanswerable")
    }
    pairs = [(yes, no) for yes in chances["answerable"] for no in chances["unanswerable"]]

    assert sum(yes > no for yes, no in pairs) / len(pairs) > 0.8


def test_a_passage_that_answers_counts_wherever_it_stands():
    question = "Which rat ate the cheese?"

    assert chance(question, RAT, TREE) == chance(question, TREE, RAT) > 0.9
    assert chance(question, TREE) < 0.1


def test_a_sentence_is_compared_by_itself():
    axes = {"cheese?": [1.0, 0.0], "A rat ate the cheese at ten.": [0.6, 0.8]}

    async def embed(texts):
        return [axes.get(text, [0.0, 1.0]) for text in texts]

    ((match, other),) = compared(["cheese?"], [RAT, TREE], embed)

    assert match == Match(likeness=pytest.approx(0.6), coverage=1.0)
    assert other == Match(likeness=0.0, coverage=0.0)


@pytest.mark.parametrize(
    ("passage", "parts"),
    [
        ("One. Two! Three? 4.1 metres", ["One.", "Two!", "Three?", "4.1 metres"]),
        ("a title\n\nand a line", ["a title", "and a line"]),
        ("  ", []),
    ],
)
def test_sentences_end_where_a_reader_says_so(passage, parts):
    assert grounding.sentences(passage) == parts


def test_an_answer_rests_on_what_says_the_same_and_on_nothing_else():
    same, near, far = Match(0.9, 1.0), Match(0.85, 0.9), Match(0.3, 0.2)

    assert grounding.sources([same, far], WEIGHTS) == [True, False]
    assert grounding.sources([near, same], WEIGHTS) == [False, True]
    assert grounding.sources([far, far], WEIGHTS) == [False, False]


def test_a_short_answer_is_taken_with_its_question():
    assert grounding.claim("When did it rain?", "1957") == "When did it rain? 1957"
    assert grounding.claim("q", "Herons eat marsh frogs") == "Herons eat marsh frogs"


def test_only_the_sentences_nearest_to_a_question_are_quoted():
    parts = ["Ada opened the bakery.", "The bakery started with twelve people.", "It rains."]
    matches = [Match(0.8, 0.5), Match(0.5, 0.9), Match(0.1, 0.0)]
    assert grounding.nearest(parts, matches, WEIGHTS) == parts[:2]
    assert grounding.nearest(parts, matches, WORD_WEIGHTS) == parts[1:2]
    assert grounding.nearest_last("rat cheese", [RAT, TREE]) == [TREE, RAT]
