"""Handlers that let a model write, and that count its tokens."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.engine import Prompt
from tuner.server import messages, metrics, prompts
from tuner.server.creation import random_id
from tuner.server.refusals import Violation, invalid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tuner.engine import Piece
    from tuner.server.identity import Caller
    from tuner.server.messages import Message
    from tuner.server.prompts import Runner
    from tuner.server.service import Service


async def generate_content(service: Service, _caller: Caller, request: Message) -> Message:
    """GenerateContent: every candidate whole."""
    runner = await prompts.find_runner(service, request.model)
    prompt = prompts.from_request(request, runner)
    response = _response(runner)
    for index, each in enumerate(_candidates(prompt, request)):
        text, last = await whole_answer(service, each)
        response.candidates.append(candidate(index, text, last))
        _count(response, last)
    return response


async def stream_generate_content(
    service: Service, _caller: Caller, request: Message
) -> AsyncIterator[Message]:
    """StreamGenerateContent: pieces as the model makes them, one candidate after the other."""
    runner = await prompts.find_runner(service, request.model)
    prompt = prompts.from_request(request, runner)
    response = _response(runner)
    for index, each in enumerate(_candidates(prompt, request)):
        async with aclosing(service.engine.generate(each)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                _count(response, piece)
                chunk = messages.GenerateContentResponse()
                chunk.CopyFrom(response)
                chunk.candidates.append(candidate(index, piece.text, piece))
                yield chunk


async def count_tokens(service: Service, _caller: Caller, request: Message) -> Message:
    """CountTokens: the prompt as the model would see it, its template included."""
    runner = await prompts.find_runner(service, request.model, "countTokens")
    if not request.HasField("generate_content_request"):
        wrong = prompts.content_problems(request.contents, "contents")
        prompt = Prompt(runner.base.name, prompts.turns(request.contents), adapter=runner.adapter)
    elif request.contents:
        both = "give these or generate_content_request, not both"
        wrong, prompt = [Violation("contents", both)], None
    else:
        wrong, prompt = [], prompts.from_request(request.generate_content_request, runner)
    if wrong or prompt is None:
        raise invalid(wrong)
    total = await service.engine.count_tokens(prompt)
    return messages.CountTokensResponse(total_tokens=total)


async def whole_answer(service: Service, prompt: Prompt) -> tuple[str, Piece]:
    """All of an answer's text, and its last piece, which says how it ended."""
    text, last = "", None
    async with aclosing(service.engine.generate(prompt)) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            text, last = text + piece.text, piece
    if last is None:
        raise RuntimeError("the engine said nothing, not even why")
    return text, last


def candidate(index: int, text: str, piece: Piece) -> Message:
    """One answer, or a piece of it."""
    message = messages.Candidate(index=index, token_count=piece.output_tokens)
    message.content.role = "model"
    message.content.parts.add().text = text
    if piece.finish_reason:
        message.finish_reason = piece.finish_reason
    return message


def _candidates(prompt: Prompt, request: Message) -> list[Prompt]:
    count = request.generation_config.candidate_count or 1
    if prompt.seed is None:
        return [prompt] * count
    return [replace(prompt, seed=prompt.seed + index) for index in range(count)]


def _response(runner: Runner) -> Message:
    return messages.GenerateContentResponse(
        model_version=runner.version.removeprefix("models/"), response_id=random_id(20)
    )


def _count(response: Message, piece: Piece) -> None:
    if piece.finish_reason:
        metrics.note_tokens(piece.prompt_tokens, piece.output_tokens)
        usage = response.usage_metadata
        usage.prompt_token_count = piece.prompt_tokens
        usage.candidates_token_count += piece.output_tokens
        usage.total_token_count = usage.prompt_token_count + usage.candidates_token_count
