"""Read JSON Lines and JSON arrays with the ``json`` module, and place every row and error.

The parser does not say where a value is, so a row is scanned again, but only to place a problem.
"""

from __future__ import annotations

import codecs
import json
import re
from functools import partial
from itertools import accumulate, count, islice
from json.decoder import scanstring  # type: ignore[attr-defined] # typeshed leaves it out
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tuner.data.dataset import BATCH_ROWS, Batch, problems_only
from tuner.data.encoding import (
    BLOCK_BYTES,
    MAX_ROW_BYTES,
    OtherEncodingError,
    line_and_column,
    open_pieces,
    other_encoding_problem,
    read_blocks,
    too_large,
    without_mark,
)
from tuner.data.record_formats import (
    PLAIN,
    Parts,
    Piece,
    RecordError,
    describe_value,
    detect_record_format,
    record_reader,
)
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tuner.data.dataset import Field, Source
    from tuner.data.record_formats import KeyPath

    RecordReader = Callable[[Any, Source], Sequence[Parts | RecordError]]

_decoder = json.JSONDecoder()
scan: Any = _decoder.scan_once  # type: ignore[attr-defined] # typeshed leaves it out
"""Called with a text and an index: returns the value and its end; StopIteration if there is none."""

_NAMED_DEPTH = 500
"""The nesting level that is reported if Python's parser fails at its limit of a thousand or more."""
_MAX_DIGITS = 4300
"""Python's own limit for a number it converts."""
_NEAR_END_CHARS = 32
"""An error this close to the end of the text in memory may be due to text not read yet."""
_FORGET_CHARS = 16 * 1024
"""The parser counts the lines before each of its errors, from the start of the text in memory."""

_SPACED_KEY = re.compile(r'"[ \t\r\n]+:')
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_TOKEN = re.compile(_STRING + r"|[{}\[\],:]", re.DOTALL)
_LONG_NUMBER = re.compile(_STRING + rf"|-?(?P<digits>\d{{{_MAX_DIGITS + 1},}})", re.DOTALL)
_CHARACTER = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\"\\]",
    re.DOTALL,
)
_SPACE = re.compile(r"[ \t\r\n]*")
_AFTER_VALUE = ("", " ", "\t", "\r", "\n", ",", "]")
_FIRST_KEY = re.compile(r'\{\s*+"(?:[^"\\]|\\.)*+"')
_UNDECODABLE = re.compile("[\udc80-\udcff]")


def read_lines(path: Path, source: Source) -> Iterator[Batch]:
    """Yield the objects of a JSON Lines file in file order, with a batch in memory at a time.

    Texts are unchanged. Blank lines are skipped; other keys are ignored, but none may be repeated.

    Raises:
        OSError: The file cannot be read.
    """
    rows = _Rows(path, source)
    yield rows.take()  # names the file even if it is empty
    for block in read_blocks(path, source.encoding):
        problems = block.problems
        rows.problems.extend(problems.values())
        for line, text in enumerate(block.text.split("\n"), block.line):
            if line not in problems and text and not text.isspace():
                rows.add_text(text, line)
        yield rows.take()


def read_array(path: Path, source: Source) -> Iterator[Batch]:
    """Yield the objects of an array in file order, with a batch and at most 16 MiB in memory.

    The array may be on one line or on many, or be missing, with nothing but space between the
    objects. After invalid JSON it continues with the next row that begins as the others do.

    Raises:
        OSError: The file cannot be read.
    """
    rows = _Rows(path, source)
    broken: list[str] = []
    try:
        with open_pieces(path, source.encoding, broken) as (pieces, encoding):
            text = _Text(without_mark(pieces), encoding)
            began = 0
            for _ in _ArrayReader(text, rows).read():
                if rows.count >= BATCH_ROWS or text.bytes_read - began > BLOCK_BYTES:
                    began = text.bytes_read
                    yield rows.take()
            if broken:
                fix = "download or compress the file again"
                rows.problems = [Problem(str(path), text.line, 0, broken[0], fix, "unreadable")]
    except OtherEncodingError as error:
        yield problems_only(path, other_encoding_problem(path, error))
    yield rows.take()


def value_index(text: str, path: KeyPath) -> int:
    """Return where the value that ``path`` leads to begins in valid JSON."""
    at = _skip_space(text, 0)
    for step in path:
        at = next((place for key, place in _children(text, at) if key == step), at)
    return at


class _JsonError(NamedTuple):
    """An error in a JSON text, and the index of its character."""

    at: int
    what: str
    fix: str
    rule: str = "bad-json"


class _Rows:
    """Collects the rows of one file until a batch is full."""

    def __init__(self, path: Path, source: Source) -> None:
        self.path = str(path)
        self._source = source
        self._read: RecordReader | None = None
        self._clear()

    def _clear(self) -> None:
        self.problems: list[Problem] = []
        self._texts: tuple[list[str], list[str]] = ([], [])
        self._lines: list[int] = []
        self._raw: list[tuple[str, int, int]] = []

    @property
    def count(self) -> int:
        return len(self._lines) + len(self.problems)

    def take(self) -> Batch:
        """Return what was collected, and start the next batch."""
        locate = partial(_locate, self._read, self._source, self._raw, self._lines)
        batch = Batch(self.path, *self._texts, self._lines, self.problems, locate)
        self._clear()
        return batch

    def add_text(self, raw: str, line: int) -> None:
        """Parse the value that is alone on a line."""
        try:
            value = _decoder.decode(raw)
        except (ValueError, RecursionError) as error:
            self.report(raw, (line, 1), _json_error(error, raw))
        else:
            self.add_value(value, raw, (line, 1))

    def add_value(self, value: Any, raw: str, place: tuple[int, int]) -> None:
        """Add a value parsed from ``raw``, which begins at a line and column."""
        error = _repeated_key_error(value, raw)
        if not error and not isinstance(value, dict):
            what = f"is {describe_value(value)} where an object is needed"
            first, second = self._source.columns
            fix = f'write {{"{first}": "...", "{second}": "..."}}'
            error = _JsonError(value_index(raw, ()), what, fix, "not-an-object")
        if error:
            self.report(raw, place, error)
            return
        if self._read is None:
            self._read = record_reader(detect_record_format(value, self._source) or PLAIN)
        for nth, part in enumerate(self._read(value, self._source)):
            if isinstance(part, RecordError):
                self.report(raw, place, _JsonError(value_index(raw, part.path), *part[1:]))
            else:
                self._texts[0].append(part.text_input)
                self._texts[1].append(part.output)
                self._lines.append(place[0])
                self._raw.append((raw, place[1], nth))

    def report(self, raw: str, place: tuple[int, int], error: _JsonError) -> None:
        """Add an error in ``raw``, which begins at ``place``."""
        line, column = line_and_column(raw, error.at, *place)
        self.problems.append(Problem(self.path, line, column, error.what, error.fix, error.rule))


def _locate(  # noqa: PLR0913, PLR0917 -- the columns of a batch come first
    read: RecordReader | None,
    source: Source,
    rows: Sequence[tuple[str, int, int]],
    lines: Sequence[int],
    row: int,
    field: Field,
    offset: int = 0,
) -> tuple[int, int]:
    """Find a character by reading its row again: a text, its column, and which of its examples."""
    assert read  # noqa: S101 -- there are rows
    raw, column, nth = rows[row]
    part = read(_decoder.decode(raw), source)[nth]
    assert isinstance(part, Parts)  # noqa: S101 -- it was one before
    piece, offset = _piece_at(part.inputs if field == "text_input" else part.outputs, offset)
    at = value_index(raw, piece.path) + 1
    if offset:
        match = next(islice(_CHARACTER.finditer(raw, at), offset, None), None)
        at = match.start() if match else at
    return line_and_column(raw, at, lines[row], column)


def _piece_at(pieces: Sequence[Piece], offset: int) -> tuple[Piece, int]:
    """Return the piece of the file with a character, or next to it if the character was added."""
    for index, piece in enumerate(pieces):
        is_last = not any(each.path for each in pieces[index + 1 :])
        if piece.path and (offset < len(piece.text) or is_last):
            return piece, min(offset, len(piece.text))
        offset = max(offset - len(piece.text), 0)
    return pieces[-1], offset


class _Text:
    """A part of a file's text in memory, with a cursor and its line and column.

    Attributes:
        part: What is in memory; undecodable bytes are halves of surrogate pairs.
        at: The cursor, as an index in ``part``.
        line: Of the cursor, 1-based.
        column: Of the cursor, 1-based.
        offset: Of the cursor, in bytes of the file.
        indent: The space before the cursor in its line; None if there is something else.
        bytes_read: How much of the file was read.
        encoding: Of the bytes.
    """

    def __init__(self, pieces: Iterator[bytes], encoding: str) -> None:
        self.part = ""
        self.at = self.offset = self.bytes_read = 0
        self.line = self.column = 1
        self.indent: str | None = ""
        self.encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._pieces = pieces

    @property
    def place(self) -> tuple[int, int]:
        return self.line, self.column

    def read_more(self) -> bool:
        """Read as much again as is in memory; return whether there was anything left."""
        held, size = [], 0
        for piece in self._pieces:
            held.append(self._decoder.decode(piece))
            size += len(piece)
            if size >= len(self.part) - self.at:
                break
        self.bytes_read += size
        if held and self.at > BLOCK_BYTES:
            self.forget()
        self.part = "".join([self.part, *held])
        return bool(held)

    def forget(self) -> None:
        """Drop the text before the cursor."""
        self.part, self.at = self.part[self.at :], 0

    def move(self, to: int) -> None:
        """Move the cursor forward to ``part[to]``."""
        passed = self.part[self.at : to]
        self.line, self.column = line_and_column(passed, len(passed), *self.place)
        self.offset += self.size(passed)
        self.at = to

    def size(self, text: str) -> int:
        """Return how many bytes a text takes in the file."""
        return len(text) if text.isascii() else len(text.encode(self.encoding, "surrogateescape"))

    def skip_space(self) -> str:
        """Move to the next character that is not space, and return it; '' at the end."""
        while True:
            end = _skip_space(self.part, self.at)
            space = self.part[self.at : end]
            if "\n" in space or self.place == (1, 1):
                self.indent = space[space.rfind("\n") + 1 :]
            elif space or self.column > 1:
                self.indent = None
            self.move(end)
            if end < len(self.part):
                return self.part[end]
            if not self.read_more():
                return ""

    def seek(self, *marks: str) -> bool:
        """Move to the first of some texts; to the end, and return False, if there is none."""
        while True:
            end = len(self.part)
            for mark in marks:  # later marks are searched only before an earlier one's match
                at = self.part.find(mark, self.at, min(end + len(mark), len(self.part)))
                end = at if at >= 0 else end
            if end < len(self.part):
                self.move(end)
                return True
            self.move(max(self.at, len(self.part) - max(map(len, marks), default=0)))
            if not self.read_more():
                self.move(len(self.part))
                return False


class _ArrayReader:
    """Reads the values of an array, or values with nothing but space between them."""

    def __init__(self, text: _Text, rows: _Rows) -> None:
        self._text = text
        self._rows = rows
        self._row_start = ""

    def read(self) -> Iterator[None]:
        """Add the values to the rows, and yield after each."""
        text = self._text
        is_array = text.skip_space() == "["
        if is_array:
            text.move(text.at + 1)
        before = "["
        while (sign := text.skip_space()) and not (sign == "]" and is_array):
            if sign == ",":
                is_stray = before != "row" or not is_array
                if is_stray and before != "commas":  # there may be a million
                    self._report("a comma with no row before it", "delete it")
                text.move(text.at + 1)
                before = "commas" if is_stray else ","
                continue
            if before == "row" and is_array:
                fix = "write one after the row before"
                self._report("a comma is missing before this row", fix)
            before = self._read_value()
            yield
            if before == "nothing":
                return
        if is_array:
            self._read_end(sign, before)

    def _read_end(self, sign: str, before: str) -> None:
        if not sign:
            fix = "end the file with ]; perhaps it is cut off"
            self._report("the array is never closed", fix)
            return
        if before == ",":
            self._report("a comma after the last row", "delete it")
        self._text.move(self._text.at + 1)
        if self._text.skip_space():
            fix = "delete it, or put its rows in the array"
            self._report("text after the end of the array", fix)

    def _report(self, what: str, fix: str) -> None:
        """Report a problem at the cursor."""
        self._rows.report("", self._text.place, _JsonError(0, what, fix))

    def _read_value(self) -> Literal["row", "gap", "nothing"]:
        """Add the value at the cursor, or report it; return what the cursor is behind.

        A gap is invalid JSON that was skipped; "nothing" means that no row follows it.
        """
        text = self._text
        while True:
            value = _value_at(text)
            near_end = len(text.part) - _NEAR_END_CHARS
            if isinstance(value, _JsonError):
                may_be_cut = "unterminated" in value.what or text.at + value.at >= near_end
            else:
                may_be_cut = text.part[text.at] not in '{["' and value[1] >= near_end
            is_large = len(text.part) - text.at > MAX_ROW_BYTES
            if not may_be_cut or is_large or not text.read_more():
                break
        if isinstance(value, _JsonError):
            return "gap" if self._skip(value, is_large=may_be_cut and is_large) else "nothing"
        self._add(*value)
        return "row"

    def _add(self, value: object, end: int) -> None:
        text = self._text
        raw = text.part[text.at : end]
        bad = None if raw.isascii() else _UNDECODABLE.search(raw)
        if bad:
            byte, offset = ord(bad[0]) - 0xDC00, text.offset + text.size(raw[: bad.start()])
            what = f"byte 0x{byte:02x} at offset {offset:,} of the file is not "
            fix = "save the file as UTF-8, or name what it is in, e.g. encoding: cp1252"
            error = _JsonError(bad.start(), what + text.encoding.upper(), fix, "encoding")
            self._rows.report(raw, text.place, error)
        else:
            self._rows.add_value(value, raw, text.place)
        match = _FIRST_KEY.match(raw)
        self._row_start = match[0] if match else self._row_start
        text.move(end)

    def _skip(self, error: _JsonError, *, is_large: bool) -> bool:
        """Report a row, and continue where the next seems to begin; return False if there is none."""
        text, indent = self._text, self._text.indent
        match = _FIRST_KEY.match(text.part, text.at)
        marks = [] if indent is None else [f"\n{indent}{{", "\n]"]
        if is_large:
            self._rows.problems.append(too_large(self._rows.path, *text.place))
        else:
            raw = text.part[text.at : text.at + error.at + 1]
            self._rows.report(raw, text.place, error)
        if "deep" in error.what:  # its own levels look like rows
            marks = [self._row_start] if self._row_start else []
        elif self._row_start or match:
            marks.append(self._row_start or (match[0] if match else ""))
        text.move(min(text.at + max(error.at, 1), len(text.part)))
        if text.at > _FORGET_CHARS:
            text.forget()
        return bool(marks) and text.seek(*marks)


def _value_at(text: _Text) -> tuple[object, int] | _JsonError:
    """Return the value at the cursor and its end; an error's index counts from the cursor."""
    try:
        value, end = scan(text.part, text.at)
    except StopIteration as stop:
        return _malformed("expecting value", stop.value - text.at)
    except json.JSONDecodeError as error:
        return _malformed(error.msg, error.pos - text.at)
    except (ValueError, RecursionError) as error:
        return _json_error(error, text.part[text.at :])
    if text.part[end : end + 1] not in _AFTER_VALUE and not isinstance(value, dict | list | str):
        return _malformed("extra data", end - text.at)  # the parser reads 000 as three numbers
    return value, end


def _json_error(error: Exception, raw: str) -> _JsonError:
    """Convert an error of the parser."""
    if isinstance(error, json.JSONDecodeError):
        return _malformed(error.msg, error.pos)
    fix = "keep the two texts and delete the rest"
    if isinstance(error, RecursionError):
        levels = accumulate((each[0] in "{[") - (each[0] in "}]") for each in _TOKEN.finditer(raw))
        deep = zip(_TOKEN.finditer(raw), levels, strict=True)
        at = next((each.start() for each, level in deep if level >= _NAMED_DEPTH), 0)
        return _JsonError(at, "is nested too deep to be read", fix)
    numbers = (match.start() for match in _LONG_NUMBER.finditer(raw) if match["digits"])
    what = f"a number has more than {_MAX_DIGITS:,} digits"
    return _JsonError(next(numbers, 0), what, fix)


def _malformed(message: str, at: int) -> _JsonError:
    fix = "write one complete JSON object per row, with keys and texts in double quotes"
    message = message[:1].lower() + message[1:].removesuffix(" starting at")
    return _JsonError(at, f"is not JSON: {message}", fix)


def _repeated_key_error(value: Any, raw: str) -> _JsonError | None:
    """Report a key that occurs twice in an object; counting the keys first is fast."""
    if raw.count('":') == _count_keys(value) and not _SPACED_KEY.search(raw):
        return None
    repeated = _repeated_key(raw)
    if not repeated:
        return None
    what = f"the key {repeated[0]!r} appears twice"
    return _JsonError(repeated[1], what, "keep one of the two", "repeated-key")


def _count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(
            _count_keys(each) for each in value.values() if not isinstance(each, str)
        )
    return sum(map(_count_keys, value)) if isinstance(value, list) else 0


def _repeated_key(text: str) -> tuple[str, int] | None:
    """Return the first key that its object has already, and where its second opening quote is."""
    open_objects: list[set[str] | None] = []
    before = ""
    for match in _TOKEN.finditer(text):
        found = match[0]
        if found in "{[":
            open_objects.append(set() if found == "{" else None)
        elif found in "}]" and open_objects:
            open_objects.pop()
        elif found[0] == '"' and before in ("{", ",") and open_objects:
            keys = open_objects[-1]
            if keys is not None:
                key = scanstring(found, 1)[0]
                if key in keys:
                    return key, match.start()
                keys.add(key)
        before = found
    return None


def _children(text: str, at: int) -> Iterator[tuple[str | int, int]]:
    """Yield the keys of an object, or the indexes of a list, and where their values begin."""
    is_object = text[at] == "{"
    for index in count():
        at = _skip_space(text, at + 1)
        if text[at] in "}]":
            return
        key: str | int = index
        if is_object:
            key, at = scanstring(text, at + 1)
            at = _skip_space(text, _skip_space(text, at) + 1)
        yield key, at
        at = _skip_space(text, scan(text, at)[1])
        if text[at] != ",":
            return


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
