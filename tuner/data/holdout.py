"""Split examples into a training set and a held-out set by their content, not by chance or order."""

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
    """Return the training set and the held-out set, each in the given order.

    Whether a row is held out depends on its text_input and ``fraction`` only: adding, deleting or
    sorting rows moves no other row, no text_input is in both sets, and a larger fraction only adds
    rows to the held-out set. With few rows a set may be empty.

    With ``stratify`` every output has the same share in both sets, to less than a row: of the n
    rows with an output, the n x fraction with the lowest positions are held out, rounded up or
    down by the output's own hash, so that many rare outputs together keep to the share too. An
    added row then moves at most one other row, of the same output. An input with several outputs
    counts for the alphabetically first one and stays in one set; if an added row changes that
    output, the input counts as removed there and added here.
    """
    positions = [position(example) for example in examples]
    limits = _quotas(examples, positions, fraction) if stratify else repeat(fraction * _ONE)
    sets: tuple[list[Example], list[Example]] = [], []
    for example, where, limit in zip(examples, positions, limits, strict=False):
        sets[where < limit].append(example)
    return tuple(sets[0]), tuple(sets[1])


def position(example: Example) -> int:
    """Return a number in [0, 2**64): the first eight bytes of the SHA-256 of the text_input."""
    return int.from_bytes(_digest(example.text_input)[:8])


def rank(example: Example) -> int:
    """Return the same from the next eight bytes: an order that is independent of the split.

    If rows were selected by their position and split later, nearly all would be held out.
    """
    return int.from_bytes(_digest(example.text_input)[8:16])


def choose(examples: Sequence[Example], most: int) -> tuple[Example, ...]:
    """Return at most so many examples, in the given order, selected by content as well."""
    if len(examples) <= most:
        return tuple(examples)
    chosen = set(sorted(range(len(examples)), key=lambda index: position(examples[index]))[:most])
    return tuple(example for index, example in enumerate(examples) if index in chosen)


def _quotas(
    examples: Sequence[Example], positions: Sequence[int], fraction: float
) -> Iterator[float]:
    """Return for each row the position below which rows with its output are held out."""
    output: dict[str, str] = {}
    for each in examples:
        output[each.text_input] = min(each.output, output.get(each.text_input, each.output))
    by_output: dict[str, list[int]] = {}
    for each, where in zip(examples, positions, strict=True):
        by_output.setdefault(output[each.text_input], []).append(where)
    limits = {name: _limit(name, sorted(group), fraction) for name, group in by_output.items()}
    return (limits[output[each.text_input]] for each in examples)


def _limit(output: str, ordered: Sequence[int], fraction: float) -> int:
    """Return the position just above the quota; rows with the same input share a position."""
    chance = int.from_bytes(_digest(output)[:8]) / _ONE
    quota = int(round(len(ordered) * fraction, 9) + chance)
    return ordered[quota - 1] + 1 if quota else 0


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
