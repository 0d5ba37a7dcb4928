"""The gate: the tuned model must beat its base on held-out rows before anything is shared."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import TYPE_CHECKING

from tuner.errors import Unavailable
from tuner.jobs.job import Evaluation, Judged, Scores
from tuner.types import GenerationConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from tuner.jobs.spec import Evaluation as Asked
    from tuner.targets import Target
    from tuner.types import Answer, Example

CONCURRENCY = 32
SPARE_TOKENS = 8


async def evaluate(
    target: Target,
    tuned_model: str,
    base_model: str,
    rows: Sequence[Example],
    tell: Callable[[int], None],
) -> Evaluation:
    """Answer every held-out row with both models, greedily, at most ``CONCURRENCY`` at a time.

    Both get the very same prompt. ``tell`` is called with the number of answers so far, of
    ``2 * len(rows)``.
    """
    config = GenerationConfig(temperature=0.0, max_output_tokens=answer_tokens(rows))
    permits = asyncio.Semaphore(CONCURRENCY)
    answers = 0

    async def ask(model: str, row: Example) -> str:
        nonlocal answers
        async with permits:
            answer = await _patiently(lambda: target.generate(model, row.text_input, config))
        answers += 1
        tell(answers)
        return answer.text

    said = await _all(ask(model, row) for model in (tuned_model, base_model) for row in rows)
    pairs = zip(rows, said[: len(rows)], said[len(rows) :], strict=True)
    judged = tuple(
        Judged(row.text_input, row.output, tuned, base, row.line) for row, tuned, base in pairs
    )
    return Evaluation(
        digest=digest(rows),
        tuned=score([(row.expected, row.tuned) for row in judged]),
        base=score([(row.expected, row.base) for row in judged]),
        rows=judged,
    )


def answer_tokens(rows: Sequence[Example]) -> int:
    """How far an answer may go: past the longest right one it can only be wrong.

    No tokenizer makes more tokens than a text has UTF-8 bytes.
    """
    return max(len(row.output.encode()) for row in rows) + SPARE_TOKENS


def digest(rows: Sequence[Example]) -> str:
    """A name for the rows: the same rows in the same order give the same one."""
    content = json.dumps([(row.text_input, row.output) for row in rows])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def score(pairs: Sequence[tuple[str, str]]) -> Scores:
    """The shares of (expected, answer) pairs that match."""
    count = len(pairs)
    return Scores(
        exact_match=sum(answer == expected for expected, answer in pairs) / count,
        normalized_match=sum(normalize(answer) == normalize(expected) for expected, answer in pairs)
        / count,
    )


def normalize(text: str) -> str:
    """Case, punctuation and runs of white space do not count.

    After the SQuAD evaluation script (Rajpurkar et al. 2016), but articles are kept: not every
    data set is English.
    """
    return " ".join(re.sub(r"[^\w\s]|_", " ", text.casefold()).split())


def shortfalls(evaluation: Evaluation, asked: Asked) -> list[str]:
    """What the gate misses, in words; empty when it is passed."""
    metric, require = asked.metric.value, asked.require
    tuned, base = getattr(evaluation.tuned, metric), getattr(evaluation.base, metric)
    misses = []
    if require.at_least is not None and tuned < require.at_least:
        misses.append(f"{metric} is {tuned:.3f}, at_least: {require.at_least:g} is required")
    if require.better_than_base and tuned <= base:
        misses.append(f"{metric} is {tuned:.3f}, not better than the base model's {base:.3f}")
    return misses


async def _patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Out of quota for a moment is no reason to lose the answers that are in."""
    while True:
        try:
            return await ask()
        except Unavailable as error:
            if error.retry_after_s is None:
                raise
            await asyncio.sleep(error.retry_after_s)


async def _all(coroutines: Iterable[Coroutine[None, None, str]]) -> list[str]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
