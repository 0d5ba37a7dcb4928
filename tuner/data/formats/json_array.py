"""Read examples from a JSON array of objects, or from objects one after another, to the letter."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Literal

from tuner.data import BATCH_ROWS, Batch, nowhere
from tuner.data.formats.blocks import BLOCK, MAX_ROW
from tuner.data.formats.json_rows import (
    SPACED_KEY,
    Rows,
    Wrong,
    malformed,
    scan,
    too_deep,
    too_long,
)
from tuner.data.formats.json_text import Text, Undecodable, opened
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.data import Source

_NEAR_END = 32
"""A complaint so near to the end of what is in memory may be about what is not yet."""
_NEXT = re.compile(r"[ \t\r\n]*+,[ \t\r\n]*+(?=\{)")
_BEHIND = ("", " ", "\t", "\r", "\n", ",", "]")
_MUCH = 16 * 1024
"""The parser counts the lines before each of its complaints, from the first in memory."""
_FIRST_KEY = re.compile(r'\{\s*+"(?:[^"\\]|\\.)*+"')
_NO_TEXT = re.compile("[\udc80-\udcff]")


def read(path: Path, source: Source) -> Iterator[Batch]:
    """Yield the objects of an array in file order, a batch and 16 MiB of text in memory at a time.

    It may be on one line or on many. After what is no JSON it goes on with the next row that
    begins as the others do.

    Args:
        path: An array, or objects with nothing between them but space.
        source: Its columns are keys; both must hold texts.

    Raises:
        OSError: The file cannot be read.
    """
    rows = Rows(path, source)
    broken: list[str] = []
    try:
        with opened(path, source.encoding, broken) as text:
            began = 0
            for _ in _elements(text, rows):
                if len(rows.raw) + len(rows.problems) >= BATCH_ROWS or text.read - began > BLOCK:
                    began = text.read
                    yield rows.take()
            if broken:
                fix = "fetch the file again, or pack it again"
                rows.problems = [Problem(str(path), text.line, 0, broken[0], fix, "unreadable")]
    except Undecodable as error:
        what = f"the file is {str(error).upper()}, not UTF-8"
        fix = f"write encoding: {error}, or save it as UTF-8"
        problem = Problem(str(path), 1, 1, what, fix, "encoding")
        yield Batch(str(path), (), (), (), (problem,), nowhere)
    yield rows.take()


def _elements(text: Text, rows: Rows) -> Iterator[None]:
    """Add the values to ``rows``, and stop after each."""
    is_array = text.skip_space() == "["
    if is_array:
        text.move(text.at + 1)
    row = _Element(text, rows)
    before = "["
    while (sign := text.skip_space()) and not (sign == "]" and is_array):
        if sign == ",":
            is_stray = before != "row" or not is_array
            if is_stray and before != "commas":  # there may be a million
                row.note("a comma with no row before it", "delete it")
            text.move(text.at + 1)
            before = "commas" if is_stray else ","
            continue
        if before == "row" and is_array:
            row.note("a comma is missing before this row", "write one after the row before")
        if sign == "{" and is_array:
            _run(text, rows)
        before = row.take()
        yield
        if before == "nothing":
            return
    if sign:
        _end(text, row, before)
    elif is_array:
        row.note("the array is never closed", "end the file with ]; perhaps it is cut off")


def _run(text: Text, rows: Rows) -> None:
    """Take the rows at the cursor that are of the usual kind and have another one behind them."""
    part, at, line, begin = text.part, text.at, text.line, text.at - text.column + 1
    while True:
        try:
            value, end = scan(part, at)
            read = rows.quick(value)
        except (StopIteration, ValueError, LookupError, TypeError, RecursionError):
            break
        raw, behind = part[at:end], _NEXT.match(part, end)
        if not behind or read is None or not _is_usual(raw, read[2]):
            break
        rows.add_quick(read, raw, line, at - begin + 1)
        lines = part.count("\n", at, behind.end())
        if lines:
            line, begin = line + lines, part.rindex("\n", at, behind.end()) + 1
        at = behind.end()
    text.jump(at, line, at - begin + 1)


def _is_usual(raw: str, members: int) -> bool:
    """Whether no key is there twice, and no byte is no text."""
    if raw.count('":') != members or SPACED_KEY.search(raw):
        return False
    return raw.isascii() or not _NO_TEXT.search(raw)


def _end(text: Text, row: _Element, before: str) -> None:
    """Look at what stands around the bracket that closes the array."""
    if before == ",":
        row.note("a comma after the last row", "delete it")
    text.move(text.at + 1)
    if text.skip_space():
        row.note("text after the end of the array", "delete it, or put its rows into the array")


class _Element:
    """Takes what stands at the cursor."""

    def __init__(self, text: Text, rows: Rows) -> None:
        self._text = text
        self._rows = rows
        self._begins = ""

    def note(self, what: str, fix: str, rule: str = "bad-json") -> None:
        """Say what is wrong at the cursor."""
        place = (self._text.line, self._text.column)
        self._rows.note("", place, Wrong(0, what, fix, rule))

    def take(self) -> Literal["row", "gap", "nothing"]:
        """Add the value to the rows, or what is wrong with it; say what the cursor is behind.

        A gap is what was left out because it is no JSON; there is nothing more when all else is.
        """
        text = self._text
        while True:
            read = _value(text)
            if isinstance(read, Wrong):
                is_cut = _may_be_cut(read, text)
            else:
                is_cut = read[1] >= len(text.part) - _NEAR_END and text.part[text.at] not in '{["'
            if not is_cut or len(text.part) - text.at > MAX_ROW or not text.more():
                break
        if isinstance(read, Wrong):
            is_large = is_cut and len(text.part) - text.at > MAX_ROW
            return "gap" if self._is_skipped(read, is_large=is_large) else "nothing"
        self._add(*read)
        return "row"

    def _add(self, value: object, end: int) -> None:
        text = self._text
        raw = text.part[text.at : end]
        bad = None if raw.isascii() else _NO_TEXT.search(raw)
        if bad:
            code = ord(bad[0]) - 0xDC00
            offset = text.byte_offset(text.at + bad.start())
            what = (
                f"byte 0x{code:02x} at offset {offset:,} of the file is not {text.encoding.upper()}"
            )
            fix = "save the file as UTF-8, or name what it is in, e.g. encoding: cp1252"
            wrong = Wrong(bad.start(), what, fix, "encoding")
            self._rows.note(raw, (text.line, text.column), wrong)
        else:
            self._rows.add_value(value, raw, text.line, text.column)
        match = _FIRST_KEY.match(raw)
        self._begins = match[0] if match else self._begins
        text.move(end)

    def _is_skipped(self, wrong: Wrong, *, is_large: bool) -> bool:
        """Go on where the next row begins, as far as one can tell; False when there is none."""
        text, indent = self._text, self._text.indent
        match = _FIRST_KEY.match(text.part, text.at)
        marks = [] if indent is None else [f"\n{indent}{{", "\n]"]
        if is_large:
            what = f"a row of more than {MAX_ROW // 2**20} MiB"
            self.note(what, "delete it: no model takes a text that long", "row-too-large")
        else:
            raw = text.part[text.at : text.at + wrong.at + 1]
            self._rows.note(raw, (text.line, text.column), wrong)
        if "deep" in wrong.what:  # its own levels look like rows
            marks = [self._begins] if self._begins else []
        else:
            begins = match[0] if match and not self._begins else self._begins
            marks += [begins] if begins else []
        text.move(min(text.at + max(wrong.at, 1), len(text.part)))
        if text.at > _MUCH:
            text.forget()
        return bool(marks) and text.seek(*marks)


def _value(text: Text) -> tuple[object, int] | Wrong:
    """The value at the cursor and where it ends; what is wrong with it counts from the cursor."""
    try:
        value, end = scan(text.part, text.at)
    except StopIteration as stop:
        return malformed("expecting value", stop.value - text.at)
    except json.JSONDecodeError as error:
        return malformed(error.msg, error.pos - text.at)
    except RecursionError:
        return too_deep(text.part[text.at :])
    except ValueError:
        return too_long(text.part[text.at :])
    if text.part[end : end + 1] not in _BEHIND and not isinstance(value, dict | list | str):
        return malformed("extra data", end - text.at)  # 000: three numbers to the parser
    return value, end


def _may_be_cut(wrong: Wrong, text: Text) -> bool:
    is_open = "unterminated" in wrong.what
    return is_open or text.at + wrong.at >= len(text.part) - _NEAR_END
