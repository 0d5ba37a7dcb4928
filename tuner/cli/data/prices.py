"""A table of prices: what a million training tokens cost for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.errors import Problem
    from tuner.yaml_source import Document

MILLION = 1_000_000
_FORM = "write `currency: USD` and `models: {models/NAME: 8.00}`, per million training tokens"


class Price(NamedTuple):
    """What a million training tokens cost."""

    per_million: float
    currency: str

    def of(self, tokens: int) -> float:
        """What so many cost, all epochs counted."""
        return tokens * self.per_million / MILLION


def read_price(path: Path, model: str) -> Price:
    """The price of a model, named with or without ``models/``.

    Raises:
        SpecError: The file is no such table, or does not have the model.
    """
    from tuner.yaml_source import read_document

    document = read_document(path)
    problems = [*document.problems, *_problems(document)]
    if problems:
        raise SpecError(problems)
    value: Any = document.value  # looked at, just now
    short = model.rpartition("/")[2]
    for name, price in value["models"].items():
        if name.rpartition("/")[2] == short:
            return Price(float(price), value["currency"])
    known = ", ".join(value["models"]) or "none"
    what = f"there is no price of {model}; there is {known}"
    raise SpecError([document.problem(("models",), what, _FORM, "no-price")])


def _problems(document: Document) -> Iterator[Problem]:
    value: Any = document.value
    if not isinstance(value, dict) or not isinstance(value.get("models"), dict):
        yield document.problem((), "is no table of prices", _FORM, "bad-prices")
        return
    if not isinstance(value.get("currency"), str):
        yield document.problem(("currency",), "names no currency", _FORM, "bad-prices")
    for name, price in value["models"].items():
        if isinstance(price, bool) or not isinstance(price, int | float) or price < 0:
            what = f"the price of {name} is no number of 0 or more"
            yield document.problem(("models", name), what, _FORM, "bad-prices")
