"""Read examples from JSON Lines, one object a line, to the letter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tuner.data import in_batches
from tuner.data.columns import missing_columns
from tuner.data.lines import read_lines
from tuner.errors import Problem
from tuner.types import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tuner.data import Batch, Columns, Row, Source

_TYPES = {
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


class _RepeatedKey(ValueError):
    """An object has a key twice; the text is the key."""


def read(path: Path, source: Source) -> Iterator[Batch]:
    """Yield the rows of a file in batches; see ``read_rows``."""
    return in_batches(path, read_rows(path, source.columns, source.encoding))


def read_rows(path: Path, columns: Columns, encoding: str) -> Iterator[Row]:
    """Yield the objects of a JSON Lines file in file order, one in memory at a time.

    Texts stay as written. Blank lines are skipped; keys beyond the two are not looked at.

    Args:
        path: One object a line.
        columns: Which key holds ``text_input`` and which ``output``; both must hold texts.
        encoding: Any that extends ASCII; a byte-order mark of UTF-8 is allowed.

    Yields:
        An Example for a good line, a Problem for a bad one.

    Raises:
        OSError: The file cannot be read.
    """
    decode = json.JSONDecoder(object_pairs_hook=_unrepeated).decode
    bad: list[Problem] = []
    line = 0
    for line, text in enumerate(read_lines(path, encoding, bad), 1):
        if bad:
            yield from bad
            bad.clear()
        elif text.strip():
            yield from _row(str(path), line, columns, text.rstrip("\r\n"), decode)
    yield from bad


def _row(
    path: str, line: int, columns: Columns, text: str, decode: Callable[[str], Any]
) -> Iterator[Row]:
    try:
        value = decode(text)
    except json.JSONDecodeError as error:
        what = f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        fix = "write one whole object a line, keys and texts in double quotes"
        yield Problem(path, line, error.colno, what, fix, "bad-json")
    except _RepeatedKey as error:
        what = f"the key {str(error)!r} is there twice"
        yield Problem(path, line, 0, what, "keep one of the two", "repeated-key")
    except (RecursionError, ValueError):
        what = "is nested too deep, or holds a number too long, to be read"
        yield Problem(path, line, 0, what, "keep the two texts and drop the rest", "bad-json")
    else:
        yield from _example(path, line, columns, value)


def _example(path: str, line: int, columns: Columns, value: Any) -> Iterator[Row]:
    if not isinstance(value, dict):
        what = f"is {_described(value)} where an object is needed"
        fix = f'write {{"{columns.text_input}": "...", "{columns.output}": "..."}}, one a line'
        yield Problem(path, line, 0, what, fix, "not-an-object")
        return
    problems = list(missing_columns(path, line, columns, list(value), "key"))
    for name in columns:
        if name in value and not isinstance(value[name], str):
            what = f"{name} is {_described(value[name])} where a text is needed"
            problems.append(Problem(path, line, 0, what, _quoted(value[name]), "not-text"))
    yield from problems
    if not problems:
        yield Example(value[columns.text_input], value[columns.output], line)


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKey(next(key for key in keys if keys.count(key) > 1))
    return value


def _described(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return "a text"
    written = json.dumps(value) if isinstance(value, bool | int | float) else ""
    return f"{_TYPES[type(value)]}{written and f' ({written})'}"


def _quoted(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return f'put quotes around it: "{json.dumps(value)}"'
    return "write it as one text in double quotes"
