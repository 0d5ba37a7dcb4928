"""Tokenize examples into rows, and group rows into batches."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.engine import EngineError, Turn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.engine.chat import Chat
    from tuner.types import Example

SORT_POOL_BATCHES = 8  # rows of this many batches are sorted by length: less padding, still mixed
MICRO_BATCH_TOKENS = 4096  # per forward pass, padding included: bounds memory


@dataclass(frozen=True, slots=True)
class Row:
    """One example as tokens; the loss is computed on ``answer`` only."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


def rows(examples: Sequence[Example], chat: Chat, limit: int) -> list[Row]:
    """Tokenize examples, in order, with the chat template that inference uses.

    Raises:
        EngineError: An example has more tokens than ``limit``.
    """
    made = []
    for number, example in enumerate(examples, start=1):
        prompt = chat.prompt((Turn("user", example.text_input),))
        row = Row(tuple(prompt), tuple(chat.answer(example.output)))
        if len(row) > limit:
            place = f"example {number}" + (f" (line {example.line})" if example.line else "")
            raise EngineError(
                f"{place} has {len(row)} tokens with its output, and the model takes {limit};"
                " shorten it or remove it",
                is_request=True,
            )
        made.append(row)
    return made


def epoch(rows: Sequence[Row], batch_size: int, seed: int, number: int) -> list[list[Row]]:
    """Return the batches of one epoch; a batch has rows of similar length, the seed decides the order.

    Args:
        rows: All rows.
        batch_size: Rows per batch; the last batch may be smaller.
        seed: The task's.
        number: The epoch, from 1; each has a different order.
    """
    generator = random.Random(f"{seed}/{number}")  # noqa: S311  not a secret
    order = list(rows)
    generator.shuffle(order)
    pool = SORT_POOL_BATCHES * batch_size
    by_length = [row for part in _chunks(order, pool) for row in sorted(part, key=len)]
    batches = list(_chunks(by_length, batch_size))
    generator.shuffle(batches)
    return batches


def deal(batch: Sequence[Row], thread_count: int) -> list[list[Row]]:
    """Divide a batch among threads so that each gets rows of all lengths; no part is empty."""
    by_length = sorted(batch, key=len)
    parts = min(thread_count, len(batch))
    return [by_length[part::thread_count] for part in range(parts)]


def micro(batch: Sequence[Row], tokens: int = MICRO_BATCH_TOKENS) -> Iterator[list[Row]]:
    """Split a batch, shortest rows first, into micro-batches of at most ``tokens``, padding included."""
    part: list[Row] = []
    for row in sorted(batch, key=len):
        if part and len(row) * (len(part) + 1) > tokens:
            yield part
            part = []
        part.append(row)
    yield part


def _chunks(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])
