"""A matrix: what its variants set in a spec, and what they are called."""

from __future__ import annotations

import json
import math
import re
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.jobspec.messages import described
from tuner.pipelines.draws import drawn
from tuner.yaml_source import subdocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.errors import Problem
    from tuner.yaml_source import Document, KeyPath, Value

MAX_VARIANTS = 1_000
FORMS = ("grid", "list", "random")

_PLAIN = re.compile(r"[^\s\[\]{}\"',=]{1,40}")
_MAX_LABEL = 40
"""Characters of one value in a label."""


class Setting(NamedTuple):
    """One value that a variant sets.

    Attributes:
        dotted: The key of the spec, as ``--set`` has it.
        value: What it is set to.
        key: Where the key stands in the document of the matrix.
        where: Where the value stands there.
    """

    dotted: str
    value: Value
    key: KeyPath
    where: KeyPath


class Variant(NamedTuple):
    """One of a matrix; the label tells it from the others, e.g. ``learning_rate=0.001``."""

    label: str
    settings: tuple[Setting, ...]


def variants(
    matrix: object, document: Document, at: KeyPath = ("matrix",)
) -> tuple[list[Variant], list[Problem]]:
    """The variants of ``matrix``, which stands at ``at``, and what is wrong with it.

    A grid's last key changes fastest; a list and draws are in their order. The same text gives the
    same variants in every process, and a grown one begins with those that it had.
    """
    reader = _Reader(document)
    rows = reader.rows(matrix, at)
    if not reader.problems and len(rows) > MAX_VARIANTS:
        reader.refuse_many(at, len(rows))
    if reader.problems:
        return [], reader.problems
    return _labelled(rows), []


class _Reader:
    """Collects problems on its way down."""

    def __init__(self, document: Document) -> None:
        self.problems: list[Problem] = []
        self._document = document

    def rows(self, matrix: object, at: KeyPath) -> Sequence[tuple[Setting, ...]]:
        if not isinstance(matrix, dict) or not matrix:
            fix = "write keys of the spec with lists below it, e.g. hyperparameters.batch_size: [8, 16]"
            return self._refuse(at, f"matrix must be keys with values, not {_shown(matrix)}", fix)
        forms = [key for key in matrix if key in FORMS]
        if not forms:
            return self._grid(matrix, at)
        others = [key for key in matrix if key != forms[0]]
        if others:
            what = f"{others[0]} cannot stand beside {forms[0]}"
            return self._refuse((*at, others[0]), what, "keep one of them", key=True)
        form = forms[0]
        way = {"grid": self._grid, "list": self._list, "random": self._random}[form]
        return way(matrix[form], (*at, form))

    def _grid(self, grid: object, at: KeyPath) -> Sequence[tuple[Setting, ...]]:
        columns = []
        for dotted, values in self._keys(grid, at).items():
            here = (*at, dotted)
            if not isinstance(values, list) or not values:
                fix = f"write a list: {dotted}: [{_example(values)}]"
                self._refuse(here, f"{dotted} needs a list of values", fix)
                continue
            columns.append(
                [Setting(dotted, each, here, (*here, n)) for n, each in enumerate(values)]
            )
        count = math.prod(map(len, columns))
        if count > MAX_VARIANTS:
            return self.refuse_many(at, count)
        return list(product(*columns))

    def _list(self, items: object, at: KeyPath) -> Sequence[tuple[Setting, ...]]:
        if not isinstance(items, list) or not items:
            fix = "write an item for each variant: - {hyperparameters.batch_size: 8}"
            return self._refuse(at, f"list must be a list, not {_shown(items)}", fix)
        rows = []
        for index, item in enumerate(items):
            here = (*at, index)
            rows.append(
                tuple(
                    _setting(dotted, value, (*here, dotted))
                    for dotted, value in self._keys(item, here).items()
                )
            )
        return rows

    def _random(self, _: object, at: KeyPath) -> Sequence[tuple[Setting, ...]]:
        found = drawn(subdocument(self._document, at), MAX_VARIANTS)
        self.problems += found.problems
        return [
            tuple(_setting(dotted, value, (*at, "from", dotted)) for dotted, value in row.items())
            for row in found.rows
        ]

    def _keys(self, value: object, at: KeyPath) -> dict[str, Any]:
        if isinstance(value, dict) and value:
            for dotted in [key for key in value if "" in key.split(".")]:
                what = f"{dotted!r} is no key of a spec"
                fix = "write the keys on the way with dots between, e.g. hyperparameters.batch_size"
                self._refuse((*at, dotted), what, fix, key=True)
            return value
        fix = "write keys of the spec with their values, e.g. hyperparameters.batch_size"
        name = at[-1] if isinstance(at[-1], str) else f"{at[-2]}[{at[-1]}]"
        self._refuse(at, f"{name} must be keys with values, not {_shown(value)}", fix)
        return {}

    def refuse_many(self, at: KeyPath, count: int) -> tuple[()]:
        what = f"{count:,} variants are too many; at most {MAX_VARIANTS:,} are tuned"
        return self._refuse(at, what, "draw some of them: random: {count: 20, from: ...}")

    def _refuse(self, at: KeyPath, what: str, fix: str, *, key: bool = False) -> tuple[()]:
        self.problems.append(self._document.problem(at, what, fix, "bad-matrix", key=key))
        return ()


def _setting(dotted: str, value: Value, where: KeyPath) -> Setting:
    return Setting(dotted, value, where, where)


def _shown(value: object) -> str:
    return "nothing" if value in ({}, []) else described(value)


def _example(values: object) -> str:
    return str(values) if isinstance(values, int | float | str) else "..."


def _labelled(rows: Iterable[tuple[Setting, ...]]) -> list[Variant]:
    rows = list(rows)
    short = _short({setting.dotted for row in rows for setting in row})
    seen: dict[str, int] = {}
    found = []
    for row in rows:
        label = " ".join(f"{short[each.dotted]}={_word(each.value)}" for each in row)
        seen[label] = seen.get(label, 0) + 1
        number = f" #{seen[label]}" if seen[label] > 1 else ""  # long values may begin alike
        found.append(Variant(label + number, row))
    return found


def _short(keys: Iterable[str]) -> dict[str, str]:
    """The last part of each dotted key; all of it where two end alike."""
    keys = sorted(keys)
    ends = [key.rpartition(".")[2] for key in keys]
    return {key: key if ends.count(end) > 1 else end for key, end in zip(keys, ends, strict=True)}


def _word(value: Value) -> str:
    """A value as YAML would have it, on one line and not too long."""
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    text = json.dumps(value, ensure_ascii=False).replace("[", "(").replace("]", ")")
    return text if len(text) <= _MAX_LABEL else f"{text[:_MAX_LABEL]}..."
