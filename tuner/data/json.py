"""Read JSON Lines and JSON arrays with the ``json`` module, and place every row and error.

The parser does not say where a value is, so a row is scanned again, but only to place a problem.
"""

from __future__ import annotations

import codecs
import json
import re
from itertools import islice
from json.decoder import scanstring  # type: ignore[attr-defined] # typeshed leaves it out
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tuner.data.dataset import BATCH_ROWS, Batch, problems_only
from tuner.data.encoding import (
    BLOCK_BYTES,
    MAX_ROW_BYTES,
    OtherEncodingError,
    open_pieces,
    other_encoding_problem,
    read_blocks,
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
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tuner.data.dataset import Field, Source
    from tuner.data.record_formats import KeyPath

    RecordReader = Callable[[Any, Source], Sequence[Parts | RecordError]]

_decoder = json.JSONDecoder()
scan: Any = _decoder.scan_once  # type: ignore[attr-defined] # typeshed leaves it out
"""Called with a text and an index: returns the value and its end; StopIteration if there is none."""

_NAMED_DEPTH = 500
"""The level that is reported when Python's parser gives up, which it does at a thousand or later."""
_MAX_DIGITS = 4300
"""Python's own limit for a number it converts."""
_NEAR_END_CHARS = 32
"""An error so near to the end of what was read may be about what was not read yet."""
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

    Args:
        path: One object a line.
        source: Its columns are keys; both must hold texts.

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

    The array may be on one line or on many. After invalid JSON it continues with the next row that
    begins as the others do.

    Args:
        path: An array, or objects with nothing but space between them.
        source: Its columns are keys; both must hold texts.

    Raises:
        OSError: The file cannot be read.
    """
    rows = _Rows(path, source)
    broken: list[str] = []
    try:
        with open_pieces(path, source.encoding, broken) as (pieces, encoding):
            text = _Text(without_mark(pieces), encoding)
            began = 0
            for _ in _read_elements(text, rows):
                if rows.count >= BATCH_ROWS or text.bytes_read - began > BLOCK_BYTES:
                    began = text.bytes_read
                    yield rows.take()
            if broken:
                fix = "fetch the file again, or pack it again"
                rows.problems = [Problem(str(path), text.line, 0, broken[0], fix, "unreadable")]
    except OtherEncodingError as error:
        yield problems_only(path, other_encoding_problem(path, error))
    yield rows.take()


def value_index(text: str, path: KeyPath) -> int:
    """Return where the value that ``path`` leads to begins in valid JSON."""
    at = _skip_space(text, 0)
    for step in path:
        at = _item_index(text, at, step) if isinstance(step, int) else _member_index(text, at, step)
    return at


class _JsonError(NamedTuple):
    """What is wrong with a text of JSON, and at which of its characters."""

    at: int
    what: str
    fix: str
    rule: str


class _Rows:
    """Collects the rows of one file until a batch is full."""

    def __init__(self, path: Path, source: Source) -> None:
        self._path = str(path)
        self._source = source
        self._read: RecordReader | None = None
        self._clear()

    def _clear(self) -> None:
        self.problems: list[Problem] = []
        self._text_inputs: list[str] = []
        self._outputs: list[str] = []
        self._lines: list[int] = []
        self._raw: list[str] = []
        self._columns: dict[int, int] = {}
        self._nth: dict[int, int] = {}

    @property
    def count(self) -> int:
        return len(self._lines) + len(self.problems)

    def take(self) -> Batch:
        """Return what was collected, and start the next batch."""
        locate = _Locate(self._read, self._source, self._raw, self._lines, self._columns, self._nth)
        columns = self._text_inputs, self._outputs, self._lines, self.problems
        batch = Batch(self._path, *columns, locate)
        self._clear()
        return batch

    def add_text(self, raw: str, line: int) -> None:
        """Parse the value that is alone on a line."""
        try:
            value = _decoder.decode(raw)
        except (ValueError, RecursionError) as error:
            self.report(raw, (line, 1), _json_error(error, raw))
        else:
            self.add_value(value, raw, line, 1)

    def add_value(self, value: Any, raw: str, line: int, column: int) -> None:
        """Take a value that was parsed from ``raw``, which begins at a line and column."""
        place = line, column
        repeated = _repeated_key_error(value, raw)
        if repeated:
            self.report(raw, place, repeated)
        elif not isinstance(value, dict):
            what = f"is {describe_value(value)} where an object is needed"
            first, second = self._source.columns
            fix = f'write {{"{first}": "...", "{second}": "..."}}'
            self.report(raw, place, _JsonError(value_index(raw, ()), what, fix, "not-an-object"))
        else:
            if self._read is None:
                self._read = record_reader(detect_record_format(value, self._source) or PLAIN)
            for nth, part in enumerate(self._read(value, self._source)):
                if isinstance(part, RecordError):
                    self.report(raw, place, _JsonError(value_index(raw, part.path), *part[1:]))
                else:
                    self._add_example(part, raw, place, nth)

    def _add_example(self, part: Parts, raw: str, place: tuple[int, int], nth: int) -> None:
        row = len(self._raw)
        if nth:
            self._nth[row] = nth
        if place[1] != 1:
            self._columns[row] = place[1]
        self._text_inputs.append(part.text_input)
        self._outputs.append(part.output)
        self._lines.append(place[0])
        self._raw.append(raw)

    def report(self, raw: str, place: tuple[int, int], error: _JsonError) -> None:
        """Take what is wrong with ``raw``, which begins at ``place``."""
        line, column = _line_and_column(raw, error.at, *place)
        self.problems.append(Problem(self._path, line, column, error.what, error.fix, error.rule))


class _Locate:
    """Finds a character of a row by reading the row again."""

    def __init__(  # noqa: PLR0913, PLR0917 -- the columns of a batch
        self,
        read: RecordReader | None,
        source: Source,
        raw: Sequence[str],
        lines: Sequence[int],
        columns: Mapping[int, int],
        nth: Mapping[int, int],
    ) -> None:
        self._read = read
        self._source = source
        self._raw = raw
        self._lines = lines
        self._columns = columns
        self._nth = nth

    def __call__(self, row: int, field: Field, offset: int = 0) -> tuple[int, int]:
        assert self._read  # noqa: S101 -- there are rows
        raw = self._raw[row]
        part = self._read(_decoder.decode(raw), self._source)[self._nth.get(row, 0)]
        assert isinstance(part, Parts)  # noqa: S101 -- it was one before
        pieces = part.inputs if field == "text_input" else part.outputs
        piece, offset = _piece_at(pieces, offset)
        at = value_index(raw, piece.path) + 1
        if offset:
            match = next(islice(_CHARACTER.finditer(raw, at), offset, None), None)
            at = match.start() if match else at
        return _line_and_column(raw, at, self._lines[row], self._columns.get(row, 1))


def _piece_at(pieces: Sequence[Piece], offset: int) -> tuple[Piece, int]:
    """Return the piece of the file with a character, or next to it if the character was added."""
    for index, piece in enumerate(pieces):
        is_last = not any(each.path for each in pieces[index + 1 :])
        if piece.path and (offset < len(piece.text) or is_last):
            return piece, min(offset, len(piece.text))
        offset = max(offset - len(piece.text), 0)
    return pieces[-1], offset


# -- arrays ---------------------------------------------------------------------------------------


class _Text:
    """A window on a file's text, with a cursor whose line and column are known.

    Attributes:
        part: What is in memory; undecodable bytes are halves of surrogate pairs.
        at: The cursor, as an index in ``part``.
        line: Of the cursor, 1-based.
        column: Of the cursor, 1-based.
        indent: The space before the cursor in its line; None if there is something else.
        bytes_read: How much of the file was read.
        encoding: Of the bytes.
    """

    def __init__(self, pieces: Iterator[bytes], encoding: str) -> None:
        self.part = ""
        self.at = 0
        self.line = self.column = 1
        self.indent: str | None = ""
        self.bytes_read = 0
        self.encoding = encoding
        self._bytes_before = self._counted_chars = self._counted_bytes = 0
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._pieces = pieces

    def read_more(self) -> bool:
        """Read as much again as is in memory; return whether there was anything left."""
        held, size = [], 0
        for piece in self._pieces:
            held.append(self._decoder.decode(piece))
            size += len(piece)
            if size >= len(self.part) - self.at:
                break
        self.bytes_read += size
        if not held:
            return False
        if self.at > BLOCK_BYTES:
            self.forget()
        self.part = "".join([self.part, *held])
        return True

    def move(self, to: int) -> None:
        """Move the cursor forward to ``part[to]``."""
        self.line, self.column = _line_and_column(
            self.part[self.at : to], to - self.at, self.line, self.column
        )
        self.at = to

    def skip_space(self) -> str:
        """Move to the next character that is not space, and return it; '' at the end."""
        while True:
            end = _skip_space(self.part, self.at)
            space = self.part[self.at : end]
            if "\n" in space or (self.line, self.column) == (1, 1):
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

    def byte_offset(self, at: int) -> int:
        """Return where in the file the character ``part[at]`` is."""
        begin, size = self._counted_chars, self._counted_bytes
        if at < begin:
            begin, size = 0, self._bytes_before
        self._counted_chars, self._counted_bytes = at, size + self._size(self.part[begin:at])
        return self._counted_bytes

    def forget(self) -> None:
        """Drop the text before the cursor."""
        self._bytes_before = self.byte_offset(self.at)
        self.part = self.part[self.at :]
        self.at = self._counted_chars = 0

    def _size(self, text: str) -> int:
        return len(text) if text.isascii() else len(text.encode(self.encoding, "surrogateescape"))


def _read_elements(text: _Text, rows: _Rows) -> Iterator[None]:  # noqa: C901 -- a small grammar
    """Add the values to ``rows``, and yield after each."""
    is_array = text.skip_space() == "["
    if is_array:
        text.move(text.at + 1)
    element = _Element(text, rows)
    before = "["
    while (sign := text.skip_space()) and not (sign == "]" and is_array):
        if sign == ",":
            is_stray = before != "row" or not is_array
            if is_stray and before != "commas":  # there may be a million
                element.report("a comma with no row before it", "delete it")
            text.move(text.at + 1)
            before = "commas" if is_stray else ","
            continue
        if before == "row" and is_array:
            element.report("a comma is missing before this row", "write one after the row before")
        before = element.read()
        yield
        if before == "nothing":
            return
    if not sign:
        if is_array:
            element.report(
                "the array is never closed", "end the file with ]; perhaps it is cut off"
            )
        return
    if before == ",":
        element.report("a comma after the last row", "delete it")
    text.move(text.at + 1)
    if text.skip_space():
        element.report("text after the end of the array", "delete it, or put its rows in the array")


class _Element:
    """Reads the value at the cursor."""

    def __init__(self, text: _Text, rows: _Rows) -> None:
        self._text = text
        self._rows = rows
        self._row_start = ""

    def report(self, what: str, fix: str, rule: str = "bad-json") -> None:
        """Report a problem at the cursor."""
        place = (self._text.line, self._text.column)
        self._rows.report("", place, _JsonError(0, what, fix, rule))

    def read(self) -> Literal["row", "gap", "nothing"]:
        """Add the value to the rows, or report it; return what the cursor is behind.

        A gap is invalid JSON that was skipped; "nothing" means that no row follows it.
        """
        text = self._text
        while True:
            value = _value_at(text)
            if isinstance(value, _JsonError):
                is_near_end = text.at + value.at >= len(text.part) - _NEAR_END_CHARS
                may_be_cut = "unterminated" in value.what or is_near_end
            else:
                is_scalar = text.part[text.at] not in '{["'
                may_be_cut = is_scalar and value[1] >= len(text.part) - _NEAR_END_CHARS
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
            byte, offset = ord(bad[0]) - 0xDC00, text.byte_offset(text.at + bad.start())
            encoding = text.encoding.upper()
            what = f"byte 0x{byte:02x} at offset {offset:,} of the file is not {encoding}"
            fix = "save the file as UTF-8, or name what it is in, e.g. encoding: cp1252"
            error = _JsonError(bad.start(), what, fix, "encoding")
            self._rows.report(raw, (text.line, text.column), error)
        else:
            self._rows.add_value(value, raw, text.line, text.column)
        match = _FIRST_KEY.match(raw)
        self._row_start = match[0] if match else self._row_start
        text.move(end)

    def _skip(self, error: _JsonError, *, is_large: bool) -> bool:
        """Report a row, and continue where the next seems to begin; return False if there is none."""
        text, indent = self._text, self._text.indent
        match = _FIRST_KEY.match(text.part, text.at)
        marks = [] if indent is None else [f"\n{indent}{{", "\n]"]
        if is_large:
            what = f"a row of more than {MAX_ROW_BYTES // 2**20} MiB"
            self.report(what, "delete it: no model takes a text that long", "row-too-large")
        else:
            raw = text.part[text.at : text.at + error.at + 1]
            self._rows.report(raw, (text.line, text.column), error)
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


# -- errors and places ----------------------------------------------------------------------------


def _json_error(error: Exception, raw: str) -> _JsonError:
    """Explain what the parser raised."""
    if isinstance(error, json.JSONDecodeError):
        return _malformed(error.msg, error.pos)
    fix = "keep the two texts and drop the rest"
    if isinstance(error, RecursionError):
        at = _deep_index(raw, _NAMED_DEPTH)
        return _JsonError(at, "is nested too deep to be read", fix, "bad-json")
    numbers = (match.start() for match in _LONG_NUMBER.finditer(raw) if match["digits"])
    what = f"a number has more than {_MAX_DIGITS:,} digits"
    return _JsonError(next(numbers, 0), what, fix, "bad-json")


def _malformed(message: str, at: int) -> _JsonError:
    fix = "write one whole object a row, keys and texts in double quotes"
    message = message[:1].lower() + message[1:].removesuffix(" starting at")
    return _JsonError(at, f"is not JSON: {message}", fix, "bad-json")


def _repeated_key_error(value: Any, raw: str) -> _JsonError | None:
    """Report a key that an object has twice; counting keys first is quick."""
    if raw.count('":') == _count_keys(value) and not _SPACED_KEY.search(raw):
        return None
    repeated = _repeated_key(raw)
    if not repeated:
        return None
    what = f"the key {repeated[0]!r} is there twice"
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


def _deep_index(text: str, depth: int) -> int:
    """Return the bracket that opens level ``depth``; 0 if there is none."""
    level = 0
    for match in _TOKEN.finditer(text):
        level += (match[0] in "{[") - (match[0] in "}]")
        if level >= depth:
            return match.start()
    return 0


def _line_and_column(text: str, at: int, line: int, column: int) -> tuple[int, int]:
    """Return the place of ``text[at]``, where ``text`` itself begins at a line and column."""
    lines = text.count("\n", 0, at)
    return line + lines, (at - text.rfind("\n", 0, at)) if lines else column + at


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Yield the keys of an object and where their values begin."""
    at = _skip_space(text, at + 1)
    while text[at] == '"':
        key, at = scanstring(text, at + 1)
        at = _skip_space(text, _skip_space(text, at) + 1)
        yield key, at
        at = _skip_space(text, scan(text, at)[1])
        at = _skip_space(text, at + 1) if text[at] == "," else at


def _member_index(text: str, at: int, key: str) -> int:
    return next((place for name, place in _members(text, at) if name == key), at)


def _item_index(text: str, at: int, index: int) -> int:
    at = _skip_space(text, at + 1)
    for _ in range(index):
        at = _skip_space(text, scan(text, at)[1])
        at = _skip_space(text, at + 1)
    return at


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
