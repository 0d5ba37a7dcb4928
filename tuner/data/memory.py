"""Examples that stand in no file: a DataFrame, Examples, or pairs, made Batches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tuner.data import BATCH_ROWS, USUAL, Batch
from tuner.data.formats.columns import missing_columns
from tuner.errors import Problem
from tuner.types import Example

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.data import Columns, Field

NAME = "examples"
"""What stands for the file in a Problem; the line is the row's number, from 1."""

_MISSING = 'fill it in, or drop such rows: df.dropna(subset=["{}"])'
_NUMBER = 'make it text yourself and look at the result: df["{}"].map(str)'
_OTHER = "make it a text: it is sent as it is"
_PAIR = "give Examples or (input, output) pairs; of dicts make a pandas.DataFrame(rows)"


def is_frame(rows: object) -> bool:
    """Whether it is a pandas DataFrame, told without importing pandas."""
    return hasattr(rows, "iloc") and hasattr(rows, "columns")


def batches(rows: Any, columns: Columns = USUAL) -> Iterator[Batch]:
    """Yield the rows of a DataFrame, or of a sequence of Examples or pairs, in their order.

    No text is made of what is none: a number, None or NaN is a Problem of its row. Of a frame the
    label in its index is told too.

    Args:
        rows: All in memory; not changed.
        columns: Which columns of a frame hold what.
    """
    if is_frame(rows):
        problems = list(_wrong_columns(rows, columns))
        if problems:
            yield _batch((), (), (), problems)
            return
        values = [rows[name].tolist() for name in columns]
        pairs: Sequence[Any] = list(zip(*values, strict=True))
        labels: Any = rows.index
    else:
        pairs, labels = _sequence(rows), None
    for start in range(0, len(pairs), BATCH_ROWS):
        yield _checked(pairs[start : start + BATCH_ROWS], start + 1, columns, labels)


def _sequence(rows: Any) -> Sequence[Any]:
    """What is no sequence of rows is one bad row."""
    if isinstance(rows, str | bytes | dict) or not hasattr(rows, "__iter__"):
        return [rows]
    return rows if isinstance(rows, list | tuple) else list(rows)


def _checked(pairs: Sequence[Any], first: int, columns: Columns, labels: Any) -> Batch:
    kinds = set(map(type, pairs))
    if kinds in ({tuple}, {Example}) and set(map(len, pairs)) == {3 if Example in kinds else 2}:
        inputs, outputs, *_ = zip(*pairs, strict=True)
        if set(map(type, inputs)) == {str} == set(map(type, outputs)):
            return _batch(inputs, outputs, range(first, first + len(pairs)))
    good: list[Example] = []
    bad: list[Problem] = []
    for line, pair in enumerate(pairs, first):
        problems = _wrong(pair, line, columns, labels)
        if problems:
            bad += problems
        else:
            good.append(Example(str.__str__(pair[0]), str.__str__(pair[1]), line))
    inputs, outputs, lines = zip(*good, strict=True) if good else ((), (), ())
    return _batch(inputs, outputs, lines, bad)


def _batch(
    inputs: Sequence[str],
    outputs: Sequence[str],
    lines: Sequence[int],
    problems: Sequence[Problem] = (),
) -> Batch:
    def locate(row: int, field: Field, offset: int = 0) -> tuple[int, int]:  # noqa: ARG001 -- there is no text to count in
        return lines[row], 0

    return Batch(NAME, inputs, outputs, lines, problems, locate)


def _wrong(pair: Any, line: int, columns: Columns, labels: Any) -> list[Problem]:
    """What keeps a row from being an example."""
    if not isinstance(pair, Example) and not (isinstance(pair, tuple | list) and len(pair) == 2):  # noqa: PLR2004 -- a pair
        what = f"is {_described(pair)} where an input and an output are needed"
        return [Problem(NAME, line, 0, what, _PAIR, "not-text")]
    if isinstance(pair[0], str) and isinstance(pair[1], str):
        return []
    where = "" if labels is None else f" (index {labels[line - 1]!r})"
    return [
        Problem(
            NAME,
            line,
            0,
            f"{name} is {_described(value)} where a text is needed{where}",
            _fix(value, name, in_frame=labels is not None),
            "not-text",
        )
        for name, value in zip(columns, pair, strict=False)
        if not isinstance(value, str)
    ]


def _fix(value: object, name: str, *, in_frame: bool) -> str:
    if not in_frame:
        return _OTHER
    if _is_missing(value):
        return _MISSING.format(name)
    return _NUMBER.format(name) if isinstance(value, bool | int | float) else _OTHER


def _is_missing(value: object) -> bool:
    """None, NaN, NaT and pandas.NA, which is neither equal to itself nor unequal."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    try:
        return bool(value != value)  # noqa: PLR0124 -- as NaN
    except ValueError:  # an array, or another frame
        return False


def _described(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return "NaN" if value != value else f"the number {value!r}"  # noqa: PLR0124 -- as NaN
    if type(value).__name__ in ("NAType", "NaTType"):
        return "missing"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _wrong_columns(frame: Any, columns: Columns) -> Iterator[Problem]:
    present = [each for each in frame.columns if isinstance(each, str)]
    for problem in missing_columns(NAME, 0, columns, present, "column"):
        fix = "say which to take: text_input=, output=; in a spec training_data has the same keys"
        yield replace(problem, fix=fix)
    for name in columns:
        count = present.count(name)
        if count > 1:
            what = f"{count} columns are named {name!r}"
            yield Problem(NAME, 0, 0, what, "rename all but one", "repeated-column")
