"""Turn examples into rows of tokens, and rows into batches."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.engine import EngineError, Turn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.engine.chat import Chat
    from tuner.types import Example

POOL = 8  # batches that are sorted by length together: less padding, still well mixed
MICRO_BATCH_TOKENS = 4096  # at once through the model, padding included: bounds the memory


@dataclass(frozen=True, slots=True)
class Row:
    """One example as the model sees it; the loss is taken on ``answer`` only."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        """Tokens in all."""
        return len(self.prompt) + len(self.answer)


def rows(examples: Sequence[Example], chat: Chat, limit: int) -> list[Row]:
    """The examples in their order, in the form in which the model will be asked.

    Raises:
        EngineError: An example has more tokens than the model can take.
    """
    made = []
    for number, example in enumerate(examples, start=1):
        prompt = chat.prompt((Turn("user", example.text_input),))
        row = Row(tuple(prompt), tuple(chat.answer(example.output)))
        if len(row) > limit:
            place = f"example {number}" + (f" (line {example.line})" if example.line else "")
            raise EngineError(
                f"{place} has {len(row)} tokens with its output, and the model takes {limit};"
                " shorten it or leave it out",
                is_request=True,
            )
        made.append(row)
    return made


def epoch(rows: Sequence[Row], batch_size: int, seed: int, number: int) -> list[list[Row]]:
    """The batches of one epoch, each of rows of about one length, in an order only the seed decides.

    Args:
        rows: All of them.
        batch_size: Rows a batch; the odd rest makes one smaller batch.
        seed: The task's.
        number: The epoch, from 1: each has an order of its own.
    """
    dice = random.Random(f"{seed}/{number}")  # noqa: S311  an order, not a secret
    order = list(rows)
    dice.shuffle(order)
    pool = POOL * batch_size
    by_length = [row for part in _parts(order, pool) for row in sorted(part, key=len)]
    batches = list(_parts(by_length, batch_size))
    dice.shuffle(batches)
    return batches


def deal(batch: Sequence[Row], hands: int) -> list[list[Row]]:
    """Share a batch out so that every hand gets rows of all lengths; none is left empty."""
    by_length = sorted(batch, key=len)
    return [by_length[hand::hands] for hand in range(min(hands, len(batch)))]


def micro(batch: Sequence[Row], tokens: int = MICRO_BATCH_TOKENS) -> Iterator[list[Row]]:
    """Cut a batch, shortest rows first, into parts of at most so many tokens, padding included."""
    part: list[Row] = []
    for row in sorted(batch, key=len):
        if part and len(row) * (len(part) + 1) > tokens:
            yield part
            part = []
        part.append(row)
    yield part


def _parts(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])
