"""GenerateContent, StreamGenerateContent and CountTokens."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from tuner.engine import Piece, Prompt
from tuner.server import messages, telemetry
from tuner.server.api_errors import invalid, invalid_field
from tuner.server.handlers.converters import random_id
from tuner.server.handlers.models import find_served_model
from tuner.server.handlers.prompts import TEXT_MODALITY, content_problems, parse_prompt, parse_turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tuner.engine import Score
    from tuner.server.access import Caller
    from tuner.server.handlers.models import ServedModel
    from tuner.server.messages import Message
    from tuner.server.service import Service

SCHEMA_TOO_COMPLEX = "the schema became too complex to follow; simplify its patterns and unions"
Item = TypeVar("Item")


async def generate_content(service: Service, _caller: Caller, request: Message) -> Message:
    """Return every candidate complete."""
    model = await find_served_model(service, request.model)
    answers = await whole_answers(service, _candidate_prompts(request, model))
    response = _new_response(model)
    for index, answer in enumerate(answers):
        response.candidates.append(candidate(index, answer, answer.scores))
    written = sum(answer.output_tokens for answer in answers)
    _fill_usage(response.usage_metadata, answers[0].prompt_tokens, written)
    return response


async def stream_generate_content(
    service: Service, _caller: Caller, request: Message
) -> AsyncIterator[Message]:
    """Yield the pieces of all candidates as the model produces them."""
    model = await find_served_model(service, request.model)
    prompts = _candidate_prompts(request, model)
    response, written = _new_response(model), [0] * len(prompts)
    scored: list[list[Score]] = [[] for _ in prompts]
    async with aclosing(_pieces(service, prompts)) as pieces:  # type: ignore[type-var]
        async for index, piece in pieces:
            written[index] = piece.output_tokens
            scored[index] += piece.scores
            chunk = messages.GenerateContentResponse()
            chunk.CopyFrom(response)
            chunk.candidates.append(candidate(index, piece, scored[index]))
            _fill_usage(chunk.usage_metadata, piece.prompt_tokens, sum(written))
            yield chunk


async def count_tokens(service: Service, _caller: Caller, request: Message) -> Message:
    """Return the number of tokens of a prompt, with the model's chat template."""
    model = await find_served_model(service, request.model, "countTokens")
    total = await service.engine.count_tokens(_prompt_to_count(request, model))
    details = [{"modality": TEXT_MODALITY, "token_count": total}]
    return messages.CountTokensResponse(total_tokens=total, prompt_tokens_details=details)


async def whole_answers(service: Service, prompts: Sequence[Prompt]) -> list[Piece]:
    """Return the answers to several prompts, produced concurrently, each as one piece."""
    answers: list[list[Piece]] = [[] for _ in prompts]
    async with aclosing(_pieces(service, prompts)) as pieces:  # type: ignore[type-var]
        async for index, piece in pieces:
            answers[index].append(piece)
    return [
        replace(
            pieces[-1],
            text="".join(piece.text for piece in pieces),
            scores=tuple(score for piece in pieces for score in piece.scores),
        )
        for pieces in answers
    ]


def candidate(index: int, piece: Piece, scored: Sequence[Score] = ()) -> Message:
    """Return an answer or a piece of it as a Candidate; ``scored`` is every token up to its end."""
    message = messages.Candidate(index=index, token_count=piece.output_tokens)
    message.content.role = "model"
    message.content.parts.add().text = piece.text
    if piece.scores:
        result = message.logprobs_result
        for score in piece.scores:
            _fill_score(result.chosen_candidates.add(), score)
            likeliest = result.top_candidates.add().candidates
            for each in score.likeliest:
                _fill_score(likeliest.add(), each)
        result.log_probability_sum = sum(score.log_probability for score in piece.scores)
    if piece.finish_reason:
        message.finish_reason = piece.finish_reason
        if scored:
            message.avg_logprobs = sum(score.log_probability for score in scored) / len(scored)
    if piece.finish_reason == "OTHER":
        message.finish_message = SCHEMA_TOO_COMPLEX
    return message


async def merged(streams: Sequence[AsyncIterator[Item]]) -> AsyncIterator[tuple[int, Item]]:
    """Yield the items of all streams as they come, each with its stream's number.

    Closing this iterator, or a stream's failure, closes all streams.

    Raises:
        Exception: The first that a stream raises.
    """
    items: asyncio.Queue[tuple[int, Item] | Exception | None] = asyncio.Queue()

    async def forward(number: int, stream: AsyncIterator[Item]) -> None:
        try:
            async with aclosing(stream):  # type: ignore[type-var]
                async for item in stream:
                    items.put_nowait((number, item))
        except Exception as error:  # noqa: BLE001  (raised again by the reader)
            items.put_nowait(error)
        else:
            items.put_nowait(None)

    tasks = [asyncio.create_task(forward(*pair)) for pair in enumerate(streams)]
    open_streams = len(tasks)
    try:
        while open_streams:
            match await items.get():
                case None:
                    open_streams -= 1
                case Exception() as error:
                    raise error
                case number, item:
                    yield number, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pieces(service: Service, prompts: Sequence[Prompt]) -> AsyncIterator[tuple[int, Piece]]:
    streams = [service.engine.generate(prompt) for prompt in prompts]
    async with aclosing(merged(streams)) as pieces:  # type: ignore[type-var]
        async for index, piece in pieces:
            if piece.finish_reason:
                telemetry.count_tokens(piece.prompt_tokens, piece.output_tokens)
            yield index, piece


def _candidate_prompts(request: Message, model: ServedModel) -> list[Prompt]:
    """Return a prompt per candidate; their seeds are consecutive."""
    prompt = parse_prompt(request, model)
    numbers = range(request.generation_config.candidate_count or 1)
    if prompt.seed is None:
        return [prompt for _ in numbers]
    return [replace(prompt, seed=prompt.seed + number) for number in numbers]


def _prompt_to_count(request: Message, model: ServedModel) -> Prompt:
    field = "generate_content_request"
    if not request.HasField(field):
        wrong = content_problems(request.contents, "contents")
        if wrong:
            raise invalid(wrong)
        return Prompt(model.base.name, parse_turns(request.contents), adapter=model.adapter)
    if request.contents:
        raise invalid_field("contents", f"give these or {field}, not both")
    inner = request.generate_content_request
    if inner.model not in {"", request.model}:
        raise invalid_field(f"{field}.model", f"must be {request.model} like the request's")
    return parse_prompt(inner, model, f"{field}.")


def _new_response(model: ServedModel) -> Message:
    return messages.GenerateContentResponse(
        model_version=model.version.removeprefix("models/"), response_id=random_id(20)
    )


def _fill_usage(usage: Message, prompt_tokens: int, output_tokens: int) -> None:
    usage.prompt_token_count = prompt_tokens
    usage.candidates_token_count = output_tokens
    usage.total_token_count = prompt_tokens + output_tokens
    usage.prompt_tokens_details.add(modality=TEXT_MODALITY, token_count=prompt_tokens)
    usage.candidates_tokens_details.add(modality=TEXT_MODALITY, token_count=output_tokens)


def _fill_score(message: Message, score: Score) -> None:
    message.token, message.token_id = score.token, score.token_id
    message.log_probability = score.log_probability
