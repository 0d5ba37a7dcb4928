"""Expands a matrix (a grid, a list or random draws) into variants: what each one sets in its spec."""

from __future__ import annotations

import json
import math
import re
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import StrictInt  # noqa: TC002  (pydantic evaluates annotations)
from pydantic.dataclasses import dataclass

from tuner.jobspec.messages import check_section, described
from tuner.jobspec.schema import SECTION, key
from tuner.yaml_source import mapping_or_empty, subdocument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner.errors import Problem
    from tuner.yaml_source import Document, KeyPath, Value

    Draw = Callable[[Random], Value]

MAX_VARIANTS = 1_000
MAX_REPEATED_DRAWS = 100
"""A draw that gave only known variants this many times in a row has no more to give."""
LOG_DIGITS = 3
"""Significant digits of a number drawn on a logarithmic scale."""
MAX_LABEL_CHARS = 40
"""Of one value in a label."""

_PLAIN = re.compile(r"[^\s\[\]{}\"',=]{1,40}")


class Setting(NamedTuple):
    """One value that a variant sets; ``key`` and ``where`` locate it in the pipeline's document."""

    dotted: str
    value: Value
    key: KeyPath
    where: KeyPath


class Variant(NamedTuple):
    """One variant of a matrix; its label is unique there, e.g. ``learning_rate=0.001``."""

    label: str
    settings: tuple[Setting, ...]


@dataclass(frozen=True, config=SECTION)
class RandomKeys:
    """``matrix.random``, without ``from``."""

    count: Annotated[StrictInt, key("How many variants to draw.", examples=[6], ge=1)]
    seed: Annotated[StrictInt, key("Another one draws others.")] = 0


def variants(
    matrix: object, document: Document, at: KeyPath = ("matrix",)
) -> tuple[list[Variant], list[Problem]]:
    """Expand ``matrix``, located at ``at`` in ``document``: its variants, or its problems.

    A grid's last key changes fastest; a list and random draws keep their order. The same text gives
    the same variants in every process, and a matrix that grows starts with those it had.
    """
    reader = _Reader(document)
    rows = reader.rows(matrix, at)
    if not reader.problems and len(rows) > MAX_VARIANTS:
        reader.refuse_size(at, len(rows))
    return ([], reader.problems) if reader.problems else (_labelled(rows), [])


class _Reader:
    def __init__(self, document: Document) -> None:
        self.problems: list[Problem] = []
        self._document = document

    def rows(self, matrix: object, at: KeyPath) -> Sequence[tuple[Setting, ...]]:
        if not isinstance(matrix, dict) or not matrix:
            fix = "write keys of the spec with lists below it, e.g. hyperparameters.batch_size: [8, 16]"
            return self._refuse(at, f"matrix must be keys with values, not {_shown(matrix)}", fix)
        forms = {"grid": self._grid, "list": self._list, "random": self._random}
        form = next((key for key in matrix if key in forms), None)
        if form is None:
            return self._grid(matrix, at)
        for other in matrix:
            if other != form:
                what = f"{other} cannot be used together with {form}"
                return self._refuse((*at, other), what, "keep one of them", key=True)
        return forms[form](matrix[form], (*at, form))

    def refuse_size(self, at: KeyPath, count: int) -> tuple[()]:
        what = f"{count:,} variants are too many; the limit is {MAX_VARIANTS:,}"
        return self._refuse(at, what, "draw some of them: random: {count: 20, from: ...}")

    def _grid(self, grid: object, at: KeyPath) -> Sequence[tuple[Setting, ...]]:
        columns = []
        for dotted, values in self._keys(grid, at).items():
            here = (*at, dotted)
            if not isinstance(values, list) or not values:
                example = str(values) if isinstance(values, int | float | str) else "..."
                fix = f"write a list: {dotted}: [{example}]"
                self._refuse(here, f"{dotted} needs a list of values", fix)
                continue
            columns.append([Setting(dotted, v, here, (*here, n)) for n, v in enumerate(values)])
        count = math.prod(map(len, columns))
        return self.refuse_size(at, count) if count > MAX_VARIANTS else list(product(*columns))

    def _list(self, items: object, at: KeyPath) -> Sequence[tuple[Setting, ...]]:
        if not isinstance(items, list) or not items:
            fix = "write an item for each variant: - {hyperparameters.batch_size: 8}"
            return self._refuse(at, f"list must be a list, not {_shown(items)}", fix)
        return [
            tuple(
                Setting(dotted, value, (*at, index, dotted), (*at, index, dotted))
                for dotted, value in self._keys(item, (*at, index)).items()
            )
            for index, item in enumerate(items)
        ]

    def _random(self, value: object, at: KeyPath) -> Sequence[tuple[Setting, ...]]:
        """Draw rows; each value depends on the seed, its key and its number alone.

        So a larger count starts with the rows of a smaller one. A repeated row is drawn again.
        """
        if not isinstance(value, dict):
            fix = "write it as random: {count: 6, from: {...}}"
            return self._refuse(at, "random needs count and from", fix)
        own = {key: each for key, each in value.items() if key != "from"}
        document = subdocument(self._document, at)._replace(value=own)
        draws = self._draws(value.get("from"), (*at, "from"))
        keys, problems = check_section(RandomKeys, document)
        self.problems += problems
        if keys and keys.count > MAX_VARIANTS:
            what = f"{keys.count:,} variants are too many; the limit is {MAX_VARIANTS:,}"
            self._refuse((*at, "count"), what, "draw fewer")
        if keys is None or self.problems:
            return ()
        rows: dict[str, dict[str, Value]] = {}
        number = repeated = 0
        while len(rows) < keys.count and repeated < MAX_REPEATED_DRAWS:
            row = {key: draw(Random(f"{keys.seed}/{key}/{number}")) for key, draw in draws.items()}  # noqa: S311 -- not a secret
            is_new = json.dumps(row) not in rows
            rows.setdefault(json.dumps(row), row)
            repeated = 0 if is_new else repeated + 1
            number += 1
        if len(rows) < keys.count:
            what = f"count is {keys.count:,}, but only {len(rows):,} different variants exist"
            fix = f"write count: {len(rows)}, or add values below from"
            return self._refuse((*at, "count"), what, fix)
        source = (*at, "from")
        return [
            tuple(Setting(key, each, (*source, key), (*source, key)) for key, each in row.items())
            for row in rows.values()
        ]

    def _draws(self, value: object, at: KeyPath) -> dict[str, Draw]:
        ways = mapping_or_empty(value)
        if not ways:
            fix = "add from: {hyperparameters.learning_rate: {log: [1e-4, 1e-2]}}"
            self._refuse(at, "random has nothing to draw from", fix)
        draws: dict[str, Draw] = {}
        for dotted, way in ways.items():
            draw = _draw(way)
            if draw is None:
                what = f"{dotted} cannot be drawn from this"
                fix = "write a list of values, {log: [1e-4, 1e-2]}, or {range: [1, 3]} for whole numbers"
                self._refuse((*at, dotted), what, fix)
            else:
                draws[dotted] = draw
        return draws

    def _keys(self, value: object, at: KeyPath) -> dict[str, Any]:
        if isinstance(value, dict) and value:
            for dotted in [key for key in value if "" in key.split(".")]:
                fix = "write the full key with dots, e.g. hyperparameters.batch_size"
                self._refuse((*at, dotted), f"{dotted!r} is not a key of a spec", fix, key=True)
            return value
        fix = "write keys of the spec with their values, e.g. hyperparameters.batch_size"
        name = at[-1] if isinstance(at[-1], str) else f"{at[-2]}[{at[-1]}]"
        self._refuse(at, f"{name} must be keys with values, not {_shown(value)}", fix)
        return {}

    def _refuse(self, at: KeyPath, what: str, fix: str, *, key: bool = False) -> tuple[()]:
        self.problems.append(self._document.problem(at, what, fix, "bad-matrix", key=key))
        return ()


def _draw(way: object) -> Draw | None:
    """How to draw a value; None if ``way`` is not a valid description."""
    if isinstance(way, list):
        return (lambda random: random.choice(way)) if way else None
    match way:
        case {"log": [low, high], **rest} if not rest and _are_numbers(low, high):

            def draw(random: Random) -> float:
                number = math.exp(random.uniform(math.log(low), math.log(high)))
                return float(f"{min(max(number, low), high):.{LOG_DIGITS}g}")

            return draw if 0 < low <= high else None
        case {"range": [int(low), int(high)], **rest} if not rest and _are_numbers(low, high):
            return (lambda random: random.randint(low, high)) if low <= high else None
    return None


def _are_numbers(*values: object) -> bool:
    return all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)


def _shown(value: object) -> str:
    return "nothing" if value in ({}, []) else described(value)


def _labelled(rows: Sequence[tuple[Setting, ...]]) -> list[Variant]:
    keys = sorted({setting.dotted for row in rows for setting in row})
    ends = [key.rpartition(".")[2] for key in keys]  # the whole key where two end alike
    short = {key: key if ends.count(end) > 1 else end for key, end in zip(keys, ends, strict=True)}
    seen: dict[str, int] = {}
    found = []
    for row in rows:
        label = " ".join(f"{short[each.dotted]}={_word(each.value)}" for each in row)
        seen[label] = seen.get(label, 0) + 1
        number = f" #{seen[label]}" if seen[label] > 1 else ""  # long values may start alike
        found.append(Variant(label + number, row))
    return found


def _word(value: Value) -> str:
    """A value as YAML writes it, on one line, shortened."""
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    text = json.dumps(value, ensure_ascii=False).replace("[", "(").replace("]", ")")
    return text if len(text) <= MAX_LABEL_CHARS else f"{text[:MAX_LABEL_CHARS]}..."
