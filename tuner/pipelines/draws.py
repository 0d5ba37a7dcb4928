"""``random:`` of a matrix: values drawn by a seed, the same in every process."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Annotated, NamedTuple

from tuner.jobspec.messages import check_section
from tuner.jobspec.schema import Key
from tuner.yaml_source import mapping_or_empty

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.errors import Problem
    from tuner.yaml_source import Document, Value

    Draw = Callable[[Random], Value]

MAX_TRIES = 100
"""So often in a row may a draw repeat an earlier one."""
SIGNIFICANT = 3
"""Digits of a number drawn by its logarithm."""


@dataclass(frozen=True)
class RandomKeys:
    """``matrix.random``, but for ``from``."""

    count: Annotated[int, Key("How many variants to draw.", example="6", ge=1)]
    seed: Annotated[int, Key("Another one draws others.")] = 0


class Drawn(NamedTuple):
    """Rows of dotted keys and their values, or what is wrong."""

    rows: list[dict[str, Value]]
    problems: list[Problem]


def drawn(document: Document, most: int) -> Drawn:
    """Draw the rows that ``document``, what stands below ``random:``, asks for; ``most`` at most.

    Each value depends on the seed, its key and its number alone, so that a larger count begins with
    the rows of a smaller one. A row that was drawn already is drawn anew.
    """
    if not isinstance(document.value, dict):
        fix = "write it as random: {count: 6, from: {...}}"
        return Drawn([], [document.problem((), "random needs count and from", fix, "bad-matrix")])
    others = {key: value for key, value in document.value.items() if key != "from"}
    asked, more = check_section(RandomKeys, document._replace(value=others))
    draws, problems = _draws(document)
    problems += more
    if asked and asked.count > most:
        what = f"{asked.count:,} variants are too many; at most {most:,} are tuned"
        problems.append(document.problem(("count",), what, "draw fewer", "bad-matrix"))
    return Drawn([], problems) if problems else _rows(asked, draws, document)


def _rows(asked: RandomKeys, draws: dict[str, Draw], document: Document) -> Drawn:
    rows: dict[str, dict[str, Value]] = {}
    number = repeats = 0
    while len(rows) < asked.count and repeats < MAX_TRIES:
        row = {key: draw(Random(f"{asked.seed}/{key}/{number}")) for key, draw in draws.items()}  # noqa: S311 -- no secret
        before = len(rows)
        rows.setdefault(json.dumps(row), row)
        repeats = repeats + 1 if len(rows) == before else 0
        number += 1
    if len(rows) < asked.count:
        what = f"{asked.count:,} different variants are not to be had: {len(rows):,} were found"
        fix = f"write count: {len(rows)}, or name more values"
        return Drawn([], [document.problem(("count",), what, fix, "bad-matrix")])
    return Drawn(list(rows.values()), [])


def _draws(document: Document) -> tuple[dict[str, Draw], list[Problem]]:
    """How to draw a value of each key."""
    ways = mapping_or_empty(mapping_or_empty(document.value).get("from"))
    if not ways:
        fix = "add from: {hyperparameters.learning_rate: {log: [1e-4, 1e-2]}}"
        return {}, [
            document.problem(("from",), "random has nothing to draw from", fix, "bad-matrix")
        ]
    draws: dict[str, Draw] = {}
    problems = []
    for dotted, way in ways.items():
        draw = _draw(way)
        if draw:
            draws[dotted] = draw
        else:
            what = f"{dotted} cannot be drawn from this"
            fix = (
                "write a list of values, {log: [1e-4, 1e-2]}, or {range: [1, 3]} for whole numbers"
            )
            problems.append(document.problem(("from", dotted), what, fix, "bad-matrix"))
    return draws, problems


def _draw(way: object) -> Draw | None:
    """None where ``way`` is none."""
    if isinstance(way, list):
        return (lambda random: random.choice(way)) if way else None
    match way:
        case {"log": [low, high], **rest} if (
            not rest and _are_numbers(low, high) and 0 < low <= high
        ):
            return lambda random: _by_log(random, low, high)
        case {"range": [int(low), int(high)], **rest} if (
            not rest and _are_numbers(low, high) and low <= high
        ):
            return lambda random: random.randint(low, high)
    return None


def _are_numbers(*values: object) -> bool:
    return all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)


def _by_log(random: Random, low: float, high: float) -> float:
    value = math.exp(random.uniform(math.log(low), math.log(high)))
    return float(f"{min(max(value, low), high):.{SIGNIFICANT}g}")
