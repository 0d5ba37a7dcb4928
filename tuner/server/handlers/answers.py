"""GenerateAnswer: an answer from passages in the request, its sources, and whether they answer at all.

The probability that passages answer a question is a logistic function of two features: the greatest
similarity of the question to a sentence, and the part of the question's words that a passage has. Its
weights were fitted by benchmarks/answerable.py, with an answer for every second question.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.engine import EngineError, Form, Prompt, Turn
from tuner.server import messages
from tuner.server.api_errors import ApiError, Code, Violation, invalid
from tuner.server.handlers.converters import unsupported_fields
from tuner.server.handlers.generate import candidate, whole_answers
from tuner.server.handlers.models import find_served_model
from tuner.server.handlers.prompts import (
    content_problems,
    default_output_tokens,
    parse_turns,
    part_problems,
    safety_problems,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from tuner.server.access import Caller
    from tuner.server.handlers.models import ServedModel
    from tuner.server.messages import Message
    from tuner.server.service import Service

    Embed = Callable[[list[str]], Awaitable[list[list[float]]]]

EXTRACTIVE = 2
_STYLES = {
    1: "Answer briefly, in your own words.",
    EXTRACTIVE: "Answer with the exact words of a passage, as few as needed.",
    3: "Answer in detail, in whole sentences.",
}
_SUPPORTED = {
    *("model", "contents", "answer_style", "safety_settings", "temperature"),
    *("inline_passages", "semantic_retriever"),
}
MIN_SOURCE_PROBABILITY = 0.5
SOURCE_MARGIN = 0.1  # similarity: passages this close to the best one are sources, too
QUOTE_MARGIN = 1.5  # logits: sentences this close to the best one may be quoted
MIN_CLAIM_WORDS = 3
STEM_LETTERS = 5  # so that opens, opened and opening are one word
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=\u3002)|\n+")
_WORD = re.compile(r"\w+")
_STOP_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be been by can could did do does for from had has have he her his how i if in is it"
        " its long many may me much must my not of often on one or our she should than that the their then"
        " there they this to was were what when where which who whom why will with would you your"
    )
)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weights:
    """Coefficients of the logistic function."""

    similarity: float
    coverage: float
    constant: float


@dataclass(frozen=True, slots=True)
class Match:
    """How well a passage matches a text.

    Attributes:
        similarity: The greatest cosine between the text and a sentence; 0 without an embedder.
        coverage: The part of the text's words that the passage has.
    """

    similarity: float
    coverage: float

    def score(self, weights: Weights) -> float:
        """Return the logit of the probability."""
        similarity = weights.similarity * self.similarity
        return similarity + weights.coverage * self.coverage + weights.constant


EMBEDDER = "models/all-minilm-l6-v2"  # WEIGHTS are for its cosines
WEIGHTS = Weights(similarity=7.95, coverage=5.02, constant=-6.90)
WORD_WEIGHTS = Weights(similarity=0.0, coverage=7.47, constant=-3.91)


async def generate_answer(service: Service, _caller: Caller, request: Message) -> Message:
    """Return an answer from the inline passages.

    ``answerable_probability`` does not depend on the answer. The sources of an EXTRACTIVE answer are
    the passages that contain it; of others, the passages that probably say the same, perhaps none.
    """
    model = await find_served_model(service, request.model)
    _check(request)
    passages = [text_of(each.content) for each in request.inline_passages.passages]
    question = text_of(request.contents[-1])
    is_extractive = request.answer_style == EXTRACTIVE
    form = None
    if is_extractive:
        parts = [part for passage in passages for part in sentences(passage)]
        (matches,), weights = await _match(service, [question], parts)
        form = Form(sources=tuple(quotable(parts, matches, weights)))
    (answer,) = await whole_answers(service, [_prompt(request, model, passages, form)])
    texts = [question, claim(question, answer.text)]
    (question_matches, claim_matches), weights = await _match(service, texts, passages)
    sources = find_sources(claim_matches, weights)
    if is_extractive:
        sources = [answer.text in text for text in passages]
    response = messages.GenerateAnswerResponse(answer=candidate(0, answer))
    response.answerable_probability = probability(question_matches, weights)
    for is_source, passage in zip(sources, request.inline_passages.passages, strict=True):
        if is_source:
            attribution = response.answer.grounding_attributions.add(content=passage.content)
            attribution.source_id.grounding_passage.passage_id = passage.id
    return response


def probability(matches: Iterable[Match], weights: Weights) -> float:
    """Return the probability that passages answer the text, from the best value of each feature."""
    found = list(matches)
    similarity = max(match.similarity for match in found)
    best = Match(similarity, max(match.coverage for match in found))
    return 1 / (1 + math.exp(-best.score(weights)))


def find_sources(matches: Sequence[Match], weights: Weights) -> list[bool]:
    """Return for each passage whether it is a source, given its match with the answer's claim."""
    scores = [match.score(weights) for match in matches]
    margin = SOURCE_MARGIN * (weights.similarity or weights.coverage)
    return [
        score >= max(scores) - margin and probability([match], weights) >= MIN_SOURCE_PROBABILITY
        for score, match in zip(scores, matches, strict=True)
    ]


async def compare(
    texts: Sequence[str], passages: Sequence[str], embed: Embed | None
) -> list[list[Match]]:
    """Return a list per text with a match per passage; without ``embed`` by their words alone."""
    if embed is None:
        return [[Match(0.0, coverage(text, passage)) for passage in passages] for text in texts]
    parts = [sentences(passage) for passage in passages]
    vectors = iter(await embed([*texts, *(part for each in parts for part in each)]))
    text_vectors = [next(vectors) for _ in texts]
    part_vectors = [[next(vectors) for _ in each] for each in parts]
    return [
        [
            Match(
                max((_cosine(vector, other) for other in others), default=0.0),
                coverage(text, passage),
            )
            for passage, others in zip(passages, part_vectors, strict=True)
        ]
        for text, vector in zip(texts, text_vectors, strict=True)
    ]


def quotable(parts: Sequence[str], matches: Sequence[Match], weights: Weights) -> list[str]:
    """Return the sentences that most probably answer, given their matches with the question."""
    scores = [match.score(weights) for match in matches]
    best = max(scores)
    return [part for part, each in zip(parts, scores, strict=True) if each >= best - QUOTE_MARGIN]


def claim(question: str, answer: str) -> str:
    """Return what an answer claims; a short one, such as ``1957``, only with its question."""
    return answer if len(_stems(answer)) >= MIN_CLAIM_WORDS else f"{question} {answer}"


def sentences(passage: str) -> list[str]:
    """Return the sentences of a passage that are not blank."""
    return [part for each in _SENTENCE_END.split(passage) if (part := each.strip())]


def coverage(text: str, passage: str) -> float:
    """Return the part of the text's words that the passage has, without stop words."""
    words = _stems(text)
    return len(words & _stems(passage)) / len(words) if words else 0.0


def _check(request: Message) -> None:
    if request.WhichOneof("grounding_source") == "semantic_retriever":
        text = "semantic_retriever: there are no corpora here; send inline_passages."
        raise ApiError(Code.UNIMPLEMENTED, text, "NO_CORPORA")
    wrong = [
        *unsupported_fields(request, _SUPPORTED),
        *content_problems(request.contents, "contents"),
        *_passage_problems(request.inline_passages.passages, "inline_passages.passages"),
        *safety_problems(request),
    ]
    if request.answer_style not in _STYLES:
        wrong.append(Violation("answer_style", "must be ABSTRACTIVE, EXTRACTIVE or VERBOSE"))
    if not 0 <= request.temperature <= 1:
        wrong.append(Violation("temperature", "must be from 0 to 1"))
    if wrong:
        raise invalid(wrong)


def _passage_problems(passages: Sequence[Message], field: str) -> list[Violation]:
    if not passages:
        return [Violation(field, "is empty: give the passages to answer from")]
    found = [
        problem
        for at, passage in enumerate(passages)
        for problem in part_problems(passage.content, f"{field}[{at}].content")
    ]
    if not found and not any(text_of(passage.content).strip() for passage in passages):
        found.append(Violation(field, "have no text: give the passages to answer from"))
    counts = Counter(passage.id for passage in passages)
    return found + [
        Violation(f"{field}[{at}].id", "must be given, and differ from the other passages' ids")
        for at, passage in enumerate(passages)
        if not passage.id or counts[passage.id] > 1
    ]


def _prompt(
    request: Message, model: ServedModel, passages: Sequence[str], form: Form | None
) -> Prompt:
    *before, question = parse_turns(request.contents)
    # The best passage last: small models pay most attention to what is next to the question.
    ordered = sorted(passages, key=lambda passage: coverage(question.text, passage))
    listed = "\n\n".join(ordered)
    task = f"Use only these passages.\n\n{listed}\n\n{_STYLES[request.answer_style]}"
    return Prompt(
        model.base.name,
        (*before, Turn("user", f"{task}\n\nQuestion: {question.text}")),
        adapter=model.adapter,
        max_output_tokens=default_output_tokens(model.base),
        # Google documents no default; 0 keeps the answer close to its sources.
        temperature=request.temperature if request.HasField("temperature") else 0.0,
        top_p=model.top_p,
        top_k=model.top_k,
        form=form,
    )


async def _match(
    service: Service, texts: Sequence[str], passages: Sequence[str]
) -> tuple[list[list[Match]], Weights]:
    async def embed(parts: list[str]) -> list[list[float]]:
        return await service.engine.embed(EMBEDDER, parts)

    try:
        if EMBEDDER in service.engine.base_models:
            return await compare(texts, passages, embed), WEIGHTS
    except EngineError as error:  # such as a failed download: words are enough for an answer
        log.warning("compared by words", extra={"reason": str(error)})
    return await compare(texts, passages, None), WORD_WEIGHTS


def _stems(text: str) -> set[str]:
    return {word[:STEM_LETTERS] for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS}


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / product if product else 0.0
