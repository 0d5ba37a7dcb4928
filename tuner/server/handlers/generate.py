"""Handlers that let a model write, and that count its tokens."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.engine import Prompt
from tuner.server import messages, telemetry
from tuner.server.api_errors import invalid, invalid_field
from tuner.server.handlers import contents, prompts
from tuner.server.handlers.candidates import TEXT_MODALITY, candidate, fill_usage, joined
from tuner.server.handlers.creation import random_id
from tuner.server.handlers.together import together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tuner.engine import Piece, Score
    from tuner.server.access import Caller
    from tuner.server.handlers.prompts import Runner
    from tuner.server.messages import Message
    from tuner.server.service import Service


async def generate_content(service: Service, _caller: Caller, request: Message) -> Message:
    """GenerateContent: every candidate whole."""
    runner = await prompts.find_runner(service, request.model)
    answers = await whole_answers(service, _wanted(request, runner))
    response = _response(runner)
    for index, answer in enumerate(answers):
        response.candidates.append(candidate(index, answer, answer.scores))
    written = sum(answer.output_tokens for answer in answers)
    fill_usage(response.usage_metadata, answers[0].prompt_tokens, written)
    return response


async def stream_generate_content(
    service: Service, _caller: Caller, request: Message
) -> AsyncIterator[Message]:
    """StreamGenerateContent: pieces as the model makes them, those of all candidates as they come."""
    runner = await prompts.find_runner(service, request.model)
    wanted = _wanted(request, runner)
    response, written = _response(runner), [0] * len(wanted)
    scored: list[list[Score]] = [[] for _ in wanted]
    async with aclosing(_pieces(service, wanted)) as pieces:  # type: ignore[type-var]
        async for index, piece in pieces:
            written[index] = piece.output_tokens
            scored[index] += piece.scores
            chunk = messages.GenerateContentResponse()
            chunk.CopyFrom(response)
            chunk.candidates.append(candidate(index, piece, scored[index]))
            fill_usage(chunk.usage_metadata, piece.prompt_tokens, sum(written))
            yield chunk


async def count_tokens(service: Service, _caller: Caller, request: Message) -> Message:
    """CountTokens: the prompt as the model would see it, its template included."""
    runner = await prompts.find_runner(service, request.model, "countTokens")
    total = await service.engine.count_tokens(_counted(request, runner))
    details = [{"modality": TEXT_MODALITY, "token_count": total}]
    return messages.CountTokensResponse(total_tokens=total, prompt_tokens_details=details)


async def whole_answers(service: Service, wanted: Sequence[Prompt]) -> list[Piece]:
    """The answers to several prompts, made at the same time, each as one piece."""
    heard: list[list[Piece]] = [[] for _ in wanted]
    async with aclosing(_pieces(service, wanted)) as pieces:  # type: ignore[type-var]
        async for index, piece in pieces:
            heard[index].append(piece)
    return [joined(each) for each in heard]


async def _pieces(service: Service, wanted: Sequence[Prompt]) -> AsyncIterator[tuple[int, Piece]]:
    streams = [service.engine.generate(prompt) for prompt in wanted]
    async with aclosing(together(streams)) as pieces:  # type: ignore[type-var]
        async for index, piece in pieces:
            if piece.finish_reason:
                telemetry.count_tokens(piece.prompt_tokens, piece.output_tokens)
            yield index, piece


def _wanted(request: Message, runner: Runner) -> list[Prompt]:
    """A prompt a candidate; each has a seed of its own, counted up."""
    prompt = prompts.from_request(request, runner)
    numbers = range(request.generation_config.candidate_count or 1)
    if prompt.seed is None:
        return [prompt for _ in numbers]
    return [replace(prompt, seed=prompt.seed + number) for number in numbers]


def _counted(request: Message, runner: Runner) -> Prompt:
    field, wrong = "generate_content_request", []
    if not request.HasField(field):
        wrong = contents.problems(request.contents, "contents")
        if wrong:
            raise invalid(wrong)
        turns = contents.turns(request.contents)
        return Prompt(runner.base.name, turns, adapter=runner.adapter)
    if request.contents:
        raise invalid_field("contents", f"give these or {field}, not both")
    inner = request.generate_content_request
    if inner.model not in {"", request.model}:
        raise invalid_field(f"{field}.model", f"must be {request.model} like the request's")
    return prompts.from_request(inner, runner, f"{field}.")


def _response(runner: Runner) -> Message:
    return messages.GenerateContentResponse(
        model_version=runner.version.removeprefix("models/"), response_id=random_id(20)
    )
