"""Tokens of examples as a service counts them: all of them, or a sample with its error."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, NamedTuple

from tuner.tokens.counting import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner.targets import Target
    from tuner.types import Example

SAMPLE_ROWS = 300
AT_ONCE = 16
"""Calls in flight: enough to hide their way there and back, far below what a service allows."""
_SURE = 1.96
"""Standard errors to both sides that hold 95 of 100 true values."""


class Estimate(NamedTuple):
    """Tokens of all rows, and by how much that may be off, in 95 of 100 cases.

    ``prompt_error`` and ``output_error`` are 0 when all rows were counted.
    """

    prompt: int
    output: int
    prompt_error: int
    output_error: int
    counted: int
    longest: int


async def count(
    target: Target, model: str, examples: Sequence[Example], show: Callable[[int], None]
) -> list[Tokens]:
    """Ask for every example, some at a time.

    An output is counted as what it adds to its prompt: what the service puts around a turn is not
    counted twice. The first refusal ends it, and is raised as the service gave it.
    """
    gate, done = asyncio.Semaphore(AT_ONCE), 0

    async def one(example: Example) -> Tokens:
        nonlocal done
        async with gate:
            prompt = await target.count_tokens(model, example.text_input)
            both = await target.count_tokens(model, example.text_input + example.output)
        done += 1
        show(done)
        return Tokens(prompt, max(0, both - prompt))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(each)) for each in examples]
    except ExceptionGroup as refusals:
        raise refusals.exceptions[0] from None
    return [task.result() for task in tasks]


def sample(examples: Sequence[Example], most: int = SAMPLE_ROWS) -> list[Example]:
    """So many of the examples, drawn by chance, the same ones every time."""
    if len(examples) <= most:
        return list(examples)
    chosen = random.Random(0).sample(range(len(examples)), most)  # noqa: S311 -- no secret
    return [examples[at] for at in sorted(chosen)]


def estimate(
    counted: Sequence[tuple[Example, Tokens]], rows: int, input_chars: int, output_chars: int
) -> Estimate:
    """From at least one row to all: tokens grow with characters, which are known of all rows.

    Regression estimates, with the finite population's correction (Cochran, Sampling Techniques,
    ch. 7).

    Args:
        counted: A sample, or all.
        rows: How many there are.
        input_chars: Of all rows together.
        output_chars: Likewise.
    """
    prompts = [(len(example.text_input), tokens.prompt) for example, tokens in counted]
    outputs = [(len(example.output), tokens.output) for example, tokens in counted]
    prompt, prompt_error = _extended(prompts, rows, input_chars)
    output, output_error = _extended(outputs, rows, output_chars)
    longest = max(sum(tokens) for _, tokens in counted)
    return Estimate(prompt, output, prompt_error, output_error, len(counted), longest)


def _extended(pairs: Sequence[tuple[int, int]], rows: int, all_chars: int) -> tuple[int, int]:
    """The sum of tokens over all rows, and half the width of its interval."""
    n = len(pairs)
    chars, tokens = (sum(column) / n for column in zip(*pairs, strict=True))
    spread = sum((x - chars) ** 2 for x, _ in pairs)
    slope = sum((x - chars) * (y - tokens) for x, y in pairs) / spread if spread else 0.0
    off = sum((y - tokens - slope * (x - chars)) ** 2 for x, y in pairs) / max(1, n - 2)
    error = rows * (off * (1 - n / rows) / n) ** 0.5
    return round(rows * tokens + slope * (all_chars - rows * chars)), round(_SURE * error)
