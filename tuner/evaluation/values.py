"""Texts compared by the value they hold: JSON, and numbers."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

_FENCED = re.compile(r"```(?:json)?[^\S\n]*\n(.*)```", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-+\u2212]?)"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?P<power>[eE][-+]?\d+)?(?P<percent>\s*%)?"
)


def same_json(expected: str, answer: str) -> bool:
    """Whether both are JSON of the same value: 1 is 1.0, keys have no order, lists have one.

    Each may stand in a fence of three backticks, as models like to put it. What is no JSON equals
    nothing.
    """
    try:
        return _same(_parsed(expected), _parsed(answer))
    except (ValueError, ArithmeticError, RecursionError):
        return False


def _parsed(text: str) -> Any:
    fenced = _FENCED.fullmatch(text.strip())
    body = fenced.group(1) if fenced else text
    # NaN and Infinity are no JSON; numbers of any length are, and keep every digit
    return json.loads(body, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse)


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):  # true is not 1
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_same(*pair) for pair in pairs)
    return bool(one == other)


def numbers_agree(expected: str, answer: str, tolerance: float) -> bool:
    """Whether the last number of the answer is the last one expected, give or take.

    ``tolerance`` is relative to what is expected; with 0 the two are equal. 1,000.50 has a comma
    for thousands, 50 % is 0.5. A text without a number agrees with nothing.
    """
    try:
        wanted, said = last_number(expected), last_number(answer)
        if wanted is None or said is None:
            return False
        return abs(said - wanted) <= Decimal(str(tolerance)) * abs(wanted)
    except ArithmeticError:  # an exponent beyond what can be counted with
        return False


def last_number(text: str) -> Decimal | None:
    """The last number in a text; None when there is none."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    last = found[-1]
    sign = "-" if last["sign"] in ("-", "\u2212") else ""
    number = Decimal(f"{sign}{last['digits'].replace(',', '')}{last['power'] or ''}")
    return number / 100 if last["percent"] else number
