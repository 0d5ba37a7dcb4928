"""Generated answers, streams, candidates and token counts."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.handlers.requests import EMBEDDER, TINY, content
from tests.server.room import refusal
from tuner.engine import EngineError, Form, Piece, Score, Turn
from tuner.server.api_errors import Code
from tuner.server.handlers.generate import merged
from tuner.server.messages import Candidate

pytestmark = pytest.mark.slow

FINISH = Candidate.FinishReason
REQUEST = {"model": TINY, "contents": [content("one two three")]}


def text_of(response):
    return "".join(part.text for part in response.candidates[0].content.parts)


async def test_an_answer_has_a_finish_reason_and_token_counts(room):
    response = await room.call("GenerateContent", **REQUEST)
    assert text_of(response) == "one two three"
    assert response.candidates[0].finish_reason == FINISH.STOP
    usage = response.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count) == (3, 3)
    assert usage.total_token_count == 6
    assert response.model_version == "tiny-001"
    config = {"max_output_tokens": 2}
    response = await room.call("GenerateContent", **REQUEST, generation_config=config)
    assert response.candidates[0].finish_reason == FINISH.MAX_TOKENS


async def test_a_stream_has_pieces_with_the_tokens_so_far(room):
    chunks = await room.call("StreamGenerateContent", **REQUEST)
    assert [text_of(chunk) for chunk in chunks] == ["one ", "two ", "three"]
    assert [chunk.candidates[0].finish_reason for chunk in chunks] == [0, 0, FINISH.STOP]
    assert len({chunk.response_id for chunk in chunks}) == 1
    usages = [chunk.usage_metadata for chunk in chunks]
    assert [usage.prompt_token_count for usage in usages] == [3, 3, 3]
    assert [usage.candidates_token_count for usage in usages] == [1, 2, 3]
    assert [usage.total_token_count for usage in usages] == [4, 5, 6]
    assert usages[0].prompt_tokens_details[0].token_count == 3


async def test_candidates_are_streamed_concurrently_and_each_ends_once(room):
    config = {"candidate_count": 3}
    chunks = await room.call("StreamGenerateContent", **REQUEST, generation_config=config)
    found = [chunk.candidates[0] for chunk in chunks]
    assert [each.index for each in found] == [0, 1, 2] * 3
    ends = [each.index for each in found if each.finish_reason]
    assert sorted(ends) == [0, 1, 2]
    assert chunks[-1].usage_metadata.candidates_token_count == 9
    texts = dict.fromkeys(range(3), "")
    for each in found:
        texts[each.index] += each.content.parts[0].text
    assert set(texts.values()) == {"one two three"}


async def test_log_probabilities_are_given_token_by_token(room):
    best = Score("a", 1, -0.5), Score("b", 2, -1.0)

    async def generate(_prompt):
        yield Piece("a", "", 3, 1, (Score("a", 1, -0.5, best),))
        yield Piece("b", "STOP", 3, 2, (Score("b", 2, -1.5, best),))

    room.engine.generate = generate
    whole = (await room.call("GenerateContent", **REQUEST)).candidates[0]
    assert whole.avg_logprobs == pytest.approx(-1.0)
    assert [each.token for each in whole.logprobs_result.chosen_candidates] == ["a", "b"]
    top = whole.logprobs_result.top_candidates[1].candidates
    assert [(each.token_id, each.log_probability) for each in top] == [(1, -0.5), (2, -1.0)]
    assert whole.logprobs_result.log_probability_sum == pytest.approx(-2.0)
    first, last = await room.call("StreamGenerateContent", **REQUEST)
    assert first.candidates[0].avg_logprobs == 0
    assert last.candidates[0].avg_logprobs == pytest.approx(-1.0)
    assert len(last.candidates[0].logprobs_result.chosen_candidates) == 1


async def test_a_schema_that_became_too_complex_is_reported(room):
    async def generate(_prompt):
        yield Piece("{", "OTHER", 3, 1)

    room.engine.generate = generate
    found = (await room.call("GenerateContent", **REQUEST)).candidates[0]
    assert found.finish_reason == FINISH.OTHER
    assert "simplify" in found.finish_message


async def test_every_setting_reaches_the_engine(room):
    config = {"temperature": 0.5, "top_p": 0.75, "top_k": 3, "seed": 11}
    config |= {"stop_sequences": ["END"], "max_output_tokens": 9}
    config |= {"presence_penalty": 0.5, "frequency_penalty": -0.25}
    config |= {"response_logprobs": True, "logprobs": 2}
    config |= {"response_mime_type": "application/json", "response_schema": {"type_": 3}}
    await room.call(
        "GenerateContent",
        model=TINY,
        contents=[content("a"), content("b", "model"), content("c")],
        system_instruction={"parts": [{"text": "be "}, {"text": "brief"}]},
        generation_config=config,
    )
    (prompt,) = room.engine.prompts
    assert prompt.turns == (Turn("user", "a"), Turn("model", "b"), Turn("user", "c"))
    assert prompt.system_instruction == "be brief"
    assert (prompt.temperature, prompt.top_p, prompt.top_k) == (0.5, 0.75, 3)
    assert (prompt.seed, prompt.max_output_tokens) == (11, 9)
    assert prompt.stop_sequences == ("END",)
    assert (prompt.presence_penalty, prompt.frequency_penalty) == (0.5, -0.25)
    assert prompt.logprobs == 2
    assert prompt.form == Form(json_schema='{"type": "integer"}')


async def test_a_tuned_model_answers_with_its_own_weights_and_sampling(room):
    await room.tuned(temperature=0.25, top_p=0.5, top_k=7)
    request = {"model": "tunedModels/m", "contents": [content("a")]}
    response = await room.call("GenerateContent", **request)
    assert response.model_version == "tunedModels/m"
    await room.call("GenerateContent", **request, generation_config={"temperature": 0})
    tuned, greedy = room.engine.prompts
    assert (tuned.temperature, tuned.top_p, tuned.top_k) == (0.25, 0.5, 7)
    assert tuned.adapter.is_dir()
    assert greedy.temperature == 0
    assert greedy.top_p == 0.5


async def test_candidates_have_consecutive_seeds(room):
    config = {"candidate_count": 3, "seed": 5}
    response = await room.call("GenerateContent", **REQUEST, generation_config=config)
    assert [each.index for each in response.candidates] == [0, 1, 2]
    assert [prompt.seed for prompt in room.engine.prompts] == [5, 6, 7]
    assert response.usage_metadata.candidates_token_count == 9


async def test_tokens_are_counted_for_contents_or_a_whole_request(room):
    counted = await room.call("CountTokens", **REQUEST)
    assert counted.total_tokens == 3
    whole = {**REQUEST, "system_instruction": {"parts": [{"text": "be brief"}]}}
    fields = {"model": TINY, "generate_content_request": whole}
    assert (await room.call("CountTokens", **fields)).total_tokens == 5
    refused = await refusal(room, "CountTokens", **REQUEST | fields)
    assert refused.violations[0].field == "contents"
    wrong = {
        "model": ("generate_content_request.model", EMBEDDER),
        "tools": ("generate_content_request.tools", [{"google_search": {}}]),
    }
    for name, (field, value) in wrong.items():
        fields["generate_content_request"] = whole | {name: value}
        refused = await refusal(room, "CountTokens", **fields)
        assert [each.field for each in refused.violations] == [field]


@pytest.mark.parametrize(
    ("is_request", "code"), [(True, Code.INVALID_ARGUMENT), (False, Code.UNAVAILABLE)]
)
async def test_a_request_that_the_engine_refuses_differs_from_a_failure_of_the_engine(
    room, is_request, code
):
    async def count_tokens(_prompt):
        raise EngineError("too long", is_request=is_request)

    room.engine.count_tokens = count_tokens
    refused = await refusal(room, "CountTokens", **REQUEST)
    assert (refused.code, refused.message) == (code, "too long")


async def counting(count, turns, closed, name=0):
    """Yield numbers, one for each item in ``turns``."""
    try:
        for number in range(count):
            await turns.get()
            yield number
    finally:
        closed.append(name)


async def test_merged_streams_yield_items_as_they_come():
    turns = [asyncio.Queue(), asyncio.Queue()]
    streams = merged([counting(2, turn, []) for turn in turns])
    seen = []
    for number in (1, 0, 0, 1):
        turns[number].put_nowait(None)
        seen.append(await anext(streams))
    assert seen == [(1, 0), (0, 0), (0, 1), (1, 1)]
    assert [each async for each in streams] == []


async def test_closing_merged_streams_closes_each():
    turns, closed = [asyncio.Queue() for _ in range(3)], []
    streams = merged([counting(9, turn, closed, n) for n, turn in enumerate(turns)])
    turns[1].put_nowait(None)
    await anext(streams)
    await streams.aclose()
    assert sorted(closed) == [0, 1, 2]


async def test_an_error_of_one_merged_stream_closes_the_others():
    async def failing():
        yield "a"
        raise KeyError("b")

    closed = []
    streams = merged([failing(), counting(9, asyncio.Queue(), closed)])
    assert await anext(streams) == (0, "a")
    with pytest.raises(KeyError):
        await anext(streams)
    assert closed == [0]
