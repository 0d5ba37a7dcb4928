"""Which examples are held out: decided by each one's content, so that growth moves no row."""

from __future__ import annotations

import hashlib
from itertools import repeat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.types import Example

_ONE = 2**64


def split(
    examples: Sequence[Example], fraction: float, *, stratify: bool = False
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Part examples into those to tune on and those to evaluate with, each in the given order.

    A row's side depends on its text_input and ``fraction`` only: rows that are added, dropped or
    sorted move no other, no text_input is on both sides, and a larger fraction only adds rows
    to those held out. Of a few rows a side may be empty.

    With ``stratify`` every output has the same share on both sides, to less than a row: of the
    rows with an output those at the smallest positions are held out, n x fraction of them, rounded up
    or down by the output's own hash, so that many rare outputs together keep to the share too.
    An added row then moves at most one other, of the same output. An input with several outputs
    counts to the first of them by alphabet and stays on one side; if what is added makes it
    change its output, it counts as taken away there and added here.
    """
    positions = [position(example) for example in examples]
    limits = _quotas(examples, positions, fraction) if stratify else repeat(fraction * _ONE)
    sides: tuple[list[Example], list[Example]] = [], []
    for example, where, limit in zip(examples, positions, limits, strict=False):
        sides[where < limit].append(example)
    return tuple(sides[0]), tuple(sides[1])


def position(example: Example) -> int:
    """Where an example falls in [0, 2**64): the first eight bytes of its text_input's SHA-256."""
    return int.from_bytes(_digest(example.text_input)[:8])


def rank(example: Example) -> int:
    """The same from the eight bytes after them: another order, that knows nothing of the sides.

    Whoever keeps some rows by their position and parts them later would hold out nearly all.
    """
    return int.from_bytes(_digest(example.text_input)[8:16])


def _quotas(
    examples: Sequence[Example], positions: Sequence[int], fraction: float
) -> Iterator[float]:
    """For each row the position below which rows like it are held out."""
    output: dict[str, str] = {}
    for each in examples:
        output[each.text_input] = min(each.output, output.get(each.text_input, each.output))
    alike: dict[str, list[int]] = {}
    for each, where in zip(examples, positions, strict=True):
        alike.setdefault(output[each.text_input], []).append(where)
    limits = {name: _limit(name, sorted(group), fraction) for name, group in alike.items()}
    return (limits[output[each.text_input]] for each in examples)


def _limit(output: str, ordered: Sequence[int], fraction: float) -> int:
    """Just above the last position of the quota; rows of one input have one position."""
    chance = int.from_bytes(_digest(output)[:8]) / _ONE
    quota = int(round(len(ordered) * fraction, 9) + chance)
    return ordered[quota - 1] + 1 if quota else 0


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def choose(examples: Sequence[Example], most: int) -> tuple[Example, ...]:
    """At most so many of the examples, in the given order, chosen by content as well."""
    if len(examples) <= most:
        return tuple(examples)
    chosen = set(sorted(range(len(examples)), key=lambda index: position(examples[index]))[:most])
    return tuple(example for index, example in enumerate(examples) if index in chosen)
