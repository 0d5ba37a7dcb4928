"""GenerateAnswer: an answer from passages that come with the question, and which of them it rests on."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from tuner.engine import EngineError, Prompt, Turn
from tuner.server import contents, generation_config, messages, prompts
from tuner.server.candidates import candidate
from tuner.server.generate import whole_answers
from tuner.server.refusals import Code, Refused, Violation, invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.server.identity import Caller
    from tuner.server.messages import Message
    from tuner.server.prompts import Runner
    from tuner.server.service import Service

ALIKE = 0.1  # passages this close to the best one are named beside it
_STYLES = {
    1: "Answer briefly, in your own words.",
    2: "Answer with the exact words of a passage, as few as needed.",
    3: "Answer in detail, in whole sentences.",
}
_WORD = re.compile(r"\w+")
log = logging.getLogger(__name__)


async def generate_answer(service: Service, _caller: Caller, request: Message) -> Message:
    """GenerateAnswer with inline passages.

    ``answerable_probability`` is the greatest cosine similarity between the question and a
    passage, at least 0: of embeddings where the service has a model for them, else of the words
    both use.
    """
    runner = await prompts.find_runner(service, request.model)
    _check(request)
    passages = {
        each.id: contents.text_of(each.content) for each in request.inline_passages.passages
    }
    (answer,) = await whole_answers(service, [_prompt(request, runner, passages)])
    question = contents.text_of(request.contents[-1])
    to_question, to_both = await _likeness(
        service, [question, f"{question} {answer.text}"], list(passages.values())
    )
    response = messages.GenerateAnswerResponse(answer=candidate(0, answer))
    response.answerable_probability = min(max(0.0, *to_question), 1.0)
    for likeness, passage in zip(to_both, request.inline_passages.passages, strict=True):
        if likeness > 0 and likeness >= max(to_both) - ALIKE:
            response.answer.grounding_attributions.append(_attribution(passage))
    return response


def _check(request: Message) -> None:
    source = request.WhichOneof("grounding_source")
    if source == "semantic_retriever":
        text = "semantic_retriever: there are no corpora here; send inline_passages."
        raise Refused(Code.UNIMPLEMENTED, text, "NO_CORPORA")
    wrong = [*contents.problems(request.contents, "contents"), *_passage_problems(request)]
    wrong += prompts.safety_problems(request)
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
    counts = Counter(passage.id for passage in passages)
    return found + [
        Violation(f"{field}[{at}].id", "must be given, and be another one than its neighbours'")
        for at, passage in enumerate(passages)
        if not passage.id or counts[passage.id] > 1
    ]


def _prompt(request: Message, runner: Runner, passages: dict[str, str]) -> Prompt:
    *before, question = contents.turns(request.contents)
    listed = "\n\n".join(f"[{name}] {text}" for name, text in passages.items())
    task = f"Use only these passages.\n\n{listed}\n\n{_STYLES[request.answer_style]}"
    asked = Turn("user", f"{task}\n\nQuestion: {question.text}")
    return Prompt(
        runner.base.name,
        (*before, asked),
        adapter=runner.adapter,
        max_output_tokens=generation_config.default_length(runner.base),
        # Google's documents leave the default open; an answer from sources should not wander.
        temperature=request.temperature if request.HasField("temperature") else 0.0,
        top_p=runner.top_p,
        top_k=runner.top_k,
    )


async def _likeness(service: Service, texts: list[str], passages: list[str]) -> list[list[float]]:
    """For each text its cosine similarity to each passage."""
    vectors = await _vectors(service, texts + passages)
    return [
        [_cosine(text, passage) for passage in vectors[len(texts) :]]
        for text in vectors[: len(texts)]
    ]


async def _vectors(service: Service, texts: list[str]) -> list[list[float]]:
    models = service.engine.base_models.values()
    embedder = next((each.name for each in models if "embedContent" in each.methods), None)
    try:
        if embedder is not None:
            return await service.engine.embed(embedder, texts)
    except EngineError as error:  # it could not be fetched, perhaps: an answer is still an answer
        log.warning("compared by words", extra={"model": embedder, "reason": str(error)})
    counts = [Counter(_WORD.findall(text.lower())) for text in texts]
    words = sorted(set().union(*counts))
    return [[float(count[word]) for word in words] for count in counts]


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / product if product else 0.0


def _attribution(passage: Message) -> Message:
    message = messages.GroundingAttribution(content=passage.content)
    message.source_id.grounding_passage.passage_id = passage.id
    return message
