"""Which examples are held out: decided by each one's content, so that growth moves no row."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.types import Example

_ONE = 2**64


def split(
    examples: Sequence[Example], fraction: float
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Part examples into those to tune on and those to evaluate with, each in the given order.

    A row's side depends on its text_input and ``fraction`` only: rows that are added, dropped or
    sorted move no other, no text_input is on both sides, and a larger fraction only adds rows
    to those held out. Of a few rows a side may be empty.
    """
    limit = fraction * _ONE
    train: list[Example] = []
    held: list[Example] = []
    for example in examples:
        (held if position(example) < limit else train).append(example)
    return tuple(train), tuple(held)


def position(example: Example) -> int:
    """Where an example falls in [0, 2**64): the first eight bytes of its text_input's SHA-256."""
    digest = hashlib.sha256(example.text_input.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8])


def choose(examples: Sequence[Example], most: int) -> tuple[Example, ...]:
    """At most so many of the examples, in the given order, chosen by content as well."""
    if len(examples) <= most:
        return tuple(examples)
    chosen = set(sorted(range(len(examples)), key=lambda index: position(examples[index]))[:most])
    return tuple(example for index, example in enumerate(examples) if index in chosen)
