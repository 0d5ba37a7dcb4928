"""GenerateAnswer: an answer from passages that come with the question, and which of them it rests on."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.engine import EngineError, Form, Prompt, Turn
from tuner.server import messages
from tuner.server.api_errors import ApiError, Code, Violation, invalid
from tuner.server.handlers import contents, generation_config, grounding, prompts
from tuner.server.handlers.candidates import candidate
from tuner.server.handlers.generate import whole_answers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.server.access import Caller
    from tuner.server.handlers.grounding import Match, Weights
    from tuner.server.handlers.prompts import Runner
    from tuner.server.messages import Message
    from tuner.server.service import Service

EXTRACTIVE = 2
_STYLES = {
    1: "Answer briefly, in your own words.",
    EXTRACTIVE: "Answer with the exact words of a passage, as few as needed.",
    3: "Answer in detail, in whole sentences.",
}
_READ = {
    *("model", "contents", "answer_style", "safety_settings", "temperature"),
    *("inline_passages", "semantic_retriever"),
}
log = logging.getLogger(__name__)


async def generate_answer(service: Service, _caller: Caller, request: Message) -> Message:
    """GenerateAnswer with inline passages.

    ``answerable_probability`` is that of the passages answering the question, whatever the model made
    of them. An EXTRACTIVE answer rests on the passages that have its words in a row; for the others,
    the passages that most probably say the same are named, perhaps none.
    """
    runner = await prompts.find_runner(service, request.model)
    _check(request)
    passages = [contents.text_of(each.content) for each in request.inline_passages.passages]
    question = contents.text_of(request.contents[-1])
    is_quoting = request.answer_style == EXTRACTIVE
    form = Form(sources=await _quotable(service, question, passages)) if is_quoting else None
    prompt = replace(_prompt(request, runner, passages), form=form)
    (answer,) = await whole_answers(service, [prompt])
    texts = [question, grounding.claim(question, answer.text)]
    (asked, answered), weights = await _compared(service, texts, passages)
    rests = grounding.sources(answered, weights)
    if is_quoting:
        rests = [answer.text in text for text in passages]
    response = messages.GenerateAnswerResponse(answer=candidate(0, answer))
    response.answerable_probability = grounding.probability(asked, weights)
    for is_source, passage in zip(rests, request.inline_passages.passages, strict=True):
        if is_source:
            response.answer.grounding_attributions.append(_attribution(passage))
    return response


def _check(request: Message) -> None:
    source = request.WhichOneof("grounding_source")
    if source == "semantic_retriever":
        text = "semantic_retriever: there are no corpora here; send inline_passages."
        raise ApiError(Code.UNIMPLEMENTED, text, "NO_CORPORA")
    wrong = [
        *contents.unread(request, _READ),
        *contents.problems(request.contents, "contents"),
        *_passage_problems(request),
        *prompts.safety_problems(request),
    ]
    if request.answer_style not in _STYLES:
        wrong.append(Violation("answer_style", "must be ABSTRACTIVE, EXTRACTIVE or VERBOSE"))
    if not 0 <= request.temperature <= 1:
        wrong.append(Violation("temperature", "must be from 0 to 1"))
    if wrong:
        raise invalid(wrong)


def _passage_problems(request: Message) -> list[Violation]:
    field = "inline_passages.passages"
    passages = request.inline_passages.passages
    if not passages:
        return [Violation(field, "is empty: give the passages to answer from")]
    found = [
        problem
        for at, passage in enumerate(passages)
        for problem in contents.part_problems(passage.content, f"{field}[{at}].content")
    ]
    if not found and not any(contents.text_of(passage.content).strip() for passage in passages):
        found.append(Violation(field, "have no text: give the passages to answer from"))
    counts = Counter(passage.id for passage in passages)
    return found + [
        Violation(f"{field}[{at}].id", "must be given, and be another one than its neighbours'")
        for at, passage in enumerate(passages)
        if not passage.id or counts[passage.id] > 1
    ]


def _prompt(request: Message, runner: Runner, passages: Sequence[str]) -> Prompt:
    *before, question = contents.turns(request.contents)
    # A small model heeds most what stands next to the question.
    listed = "\n\n".join(grounding.nearest_last(question.text, passages))
    task = f"Use only these passages.\n\n{listed}\n\n{_STYLES[request.answer_style]}"
    return Prompt(
        runner.base.name,
        (*before, Turn("user", f"{task}\n\nQuestion: {question.text}")),
        adapter=runner.adapter,
        max_output_tokens=generation_config.default_length(runner.base),
        # Google's documents leave the default open; an answer from sources should not wander.
        temperature=request.temperature if request.HasField("temperature") else 0.0,
        top_p=runner.top_p,
        top_k=runner.top_k,
    )


async def _quotable(service: Service, question: str, passages: Sequence[str]) -> tuple[str, ...]:
    """The sentences of which an EXTRACTIVE answer is a part."""
    parts = [part for passage in passages for part in grounding.sentences(passage)]
    (matches,), weights = await _compared(service, [question], parts)
    return tuple(grounding.nearest(parts, matches, weights))


async def _compared(
    service: Service, texts: Sequence[str], passages: Sequence[str]
) -> tuple[list[list[Match]], Weights]:
    """Each text beside each passage, and what that is worth."""

    async def embed(parts: list[str]) -> list[list[float]]:
        return await service.engine.embed(grounding.EMBEDDER, parts)

    try:
        if grounding.EMBEDDER in service.engine.base_models:
            return await grounding.compare(texts, passages, embed), grounding.WEIGHTS
    except EngineError as error:  # it could not be fetched, perhaps: an answer is still an answer
        log.warning("compared by words", extra={"reason": str(error)})
    return await grounding.compare(texts, passages, None), grounding.WORD_WEIGHTS


def _attribution(passage: Message) -> Message:
    message = messages.GroundingAttribution(content=passage.content)
    message.source_id.grounding_passage.passage_id = passage.id
    return message
