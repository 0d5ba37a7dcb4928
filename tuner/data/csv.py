"""Read CSV and TSV with ``csv.reader``, and place every row and error by line and column.

Rows that ``csv.reader(strict=True)`` accepts are taken from it, many at a time. A row it refuses is
scanned by ``_scan_row``, which follows the same rules and knows where each cell is.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from io import StringIO
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from tuner.data.dataset import BATCH_ROWS, USUAL, Batch, Columns, problems_only
from tuner.data.encoding import MAX_ROW_BYTES, Block, read_blocks
from tuner.data.record_formats import (
    RECORD_FORMATS,
    SEPARATOR,
    detect_record_format,
    missing_columns,
)
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tuner.data.dataset import Field, Locate, Source

DELIMITERS = (",", ";", "\t", "|")
SEP_LINE = re.compile(r'"?sep=([^"\r\n])"?\r?\n', re.IGNORECASE)
"""The line that Excel writes before the header to name the delimiter."""

_BLANK_LINES = re.compile(r"(?:[ \t\r]*\n)*")
_QUOTED_CELL = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
_ROW_END = re.compile(r"\r*(?:\n|\Z)")
_NEWLINE = re.compile(r"\n")
_TO_CLOSING_QUOTE = re.compile(r'[^"]*+(?:""[^"]*+)*+"')
_MAX_HEADER_CELLS = 2**18
_MAX_RESCANNED_CHARS = 2 * MAX_ROW_BYTES
"""Characters that may be scanned twice: an unclosed quote is scanned to the end of the text, and a
file may hold a million of them."""
_WINDOW_CHARS, _MIN_WINDOW_CHARS = 2**18, 2**12
"""Characters given to ``csv.reader`` at once: few behind a row that it refused."""
_MAX_PAUSE_ROWS = 63
"""Rows scanned one by one before ``csv.reader`` is tried again."""
_MAX_SAMPLE_LINES = 1000
"""Lines of a long row that are examined for whether its quote was never closed."""

_UNCLOSED, _TEXT_AFTER_QUOTE, _BARE_RETURN = range(3)
_ADVICE = {
    _UNCLOSED: (
        "a quote opened here is never closed",
        'close it, or write a quote that belongs to the text twice: ""',
    ),
    _TEXT_AFTER_QUOTE: (
        "text follows a closing quote",
        'write a quote that belongs to the text twice: ""',
    ),
    _BARE_RETURN: (
        "a bare carriage return outside quotes",
        "save the file with ordinary line ends, or put quotes around the cell",
    ),
}


class _RowError(NamedTuple):
    """Why a row ends too early: the kind, the index of the character, and of its cell."""

    kind: int
    at: int
    cell_start: int


class _ScannedRow(NamedTuple):
    """A row's cells (start and end, quotes included), their number, and where the next row begins."""

    cells: list[tuple[int, int]]
    width: int
    end: int
    error: _RowError | None = None


class _Table(NamedTuple):
    """What the header says; ``inputs`` and ``output`` are column indexes, None if one is missing."""

    path: str
    delimiter: str
    width: int
    inputs: tuple[int, ...] | None
    output: int


class _Header(NamedTuple):
    names: list[str]
    width: int
    line: int
    delimiter: str
    below: Block


def read(path: Path, source: Source) -> Iterator[Batch]:
    """Yield the rows of a CSV file in file order, with some thousand in memory at a time.

    Texts are unchanged: nothing is stripped, ``NA`` and ``007`` are text, and the newlines of a
    quoted cell are kept. Blank lines are skipped. A row's line (1-based) is where it starts.

    Args:
        path: The first row names the columns. The delimiter is a tab in ``.tsv`` files, elsewhere
            whichever of comma, semicolon, tab and bar splits the header best, or the one that a
            line ``sep=;`` before it names.
        source: Which columns hold the texts, and the encoding. By default the columns of
            prompt-completion and Alpaca are accepted too.

    Raises:
        OSError: The file cannot be read.
    """
    blocks = read_blocks(path, source.encoding)
    first = next(blocks, Block(str(path), b"", 1))
    header = _read_header(path, source.columns, first)
    if isinstance(header, Problem):
        yield problems_only(path, *([*first.problems.values()] or [header]))
        return
    inputs, output = _wanted_columns(header.names, source)
    if not inputs:
        record_format = source.format
        what = f"is CSV, whose cells are texts, and {record_format} has lists of messages"
        fix = "leave format out, or name the file meant"
        yield problems_only(path, Problem(str(path), 1, 0, what, fix, "no-column"))
        return
    problems = _header_problems(path, Columns(inputs[0], output), header)
    yield problems_only(path, *problems)
    names = header.names
    indexes = None if problems else tuple(map(names.index, inputs))
    output_index = 0 if problems else names.index(output)
    scanner = _Scanner(_Table(str(path), header.delimiter, header.width, indexes, output_index))
    held: list[Block] = []
    for block in chain([header.below], blocks):
        held.append(block)
        if sum(len(each.text) for each in held) >= scanner.wanted_chars:
            yield from scanner.scan(held, is_last=False)
            held = []
    yield from scanner.scan(held, is_last=True)


def read_header(path: Path, source: Source) -> list[str]:
    """Return the names in the first row; none if it cannot be read.

    Raises:
        OSError: The file cannot be read.
    """
    first = next(read_blocks(path, source.encoding), Block(str(path), b"", 1))
    header = _read_header(path, source.columns, first)
    return [] if isinstance(header, Problem) else header.names


def _wanted_columns(names: Sequence[str], source: Source) -> tuple[Sequence[str], str]:
    """Return the columns that are joined to the input, and the output's; no inputs for messages."""
    record_format = source.format if source.format in RECORD_FORMATS else ""
    if not record_format and source.columns == USUAL:
        record_format = detect_record_format(names, source)
    match record_format:
        case "prompt-completion":
            return ("prompt",), "completion"
        case "alpaca":
            present = [each for each in ("system", "instruction", "input") if each in names]
            return present or ["instruction"], "output"
        case "openai" | "vertex" | "sharegpt":
            return (), ""
        case _:
            return (source.columns.text_input,), source.columns.output


def _read_header(path: Path, columns: Columns, first: Block) -> _Header | Problem:
    text = first.text
    sep = SEP_LINE.match(text)
    begin = sep.end() if sep else 0
    blank = _BLANK_LINES.match(text, begin)
    start = blank.end() if blank else begin
    line = first.line + text.count("\n", 0, start)
    if start == len(text) or any(bad < line for bad in first.problems):
        what, fix = "there is no first row to name the columns", "add one: text_input,output"
        return Problem(str(path), 1, 0, what, fix, "no-header")
    is_tsv = path.name.lower().removesuffix(".gz").endswith(".tsv")
    candidates = (sep[1],) if sep else ("\t",) if is_tsv else DELIMITERS
    rows = {each: _scan_row(text, start, each) for each in candidates}
    delimiter = max(candidates, key=lambda each: _fitness(text, rows[each], columns))
    row = rows[delimiter]
    if row.error:
        place = _line_and_column(text, start, line, row.error.at)
        return _malformed(str(path), place, row.error.kind)
    newlines = text.count("\n", 0, row.end)
    rest = first.raw.split(b"\n", newlines)[newlines] if row.end < len(text) else b""
    below = first.after(len(first.raw) - len(rest), newlines)
    return _Header(_cell_texts(text, row), row.width, line, delimiter, below)


def _fitness(text: str, row: _ScannedRow, columns: Columns) -> tuple[int, bool, int]:
    """Rank a delimiter: by how many of the wanted columns it yields, then by all columns."""
    names = [name.strip() for name in _cell_texts(text, row)]
    return sum(name in names for name in columns), not row.error, len(names)


def _header_problems(path: Path, columns: Columns, header: _Header) -> list[Problem]:
    names = header.names
    problems = list(missing_columns(str(path), header.line, columns, names, "column"))
    for name in dict.fromkeys(name for name in columns if names.count(name) > 1):
        what = f"{names.count(name)} columns are named {name!r}"
        fix = "rename all but one"
        problems.append(Problem(str(path), header.line, 0, what, fix, "repeated-column"))
    return problems


class _Rows:
    """The rows of the batch that is being filled."""

    def __init__(self) -> None:
        self.text_inputs: list[str] = []
        self.outputs: list[str] = []
        self.lines: list[int] = []
        self.problems: list[Problem] = []

    @property
    def is_full(self) -> bool:
        return len(self.lines) + len(self.problems) >= BATCH_ROWS

    def add(self, table: _Table, cells: Sequence[str], line: int) -> None:
        """Take a good row."""
        assert table.inputs  # noqa: S101 -- without the columns there are no good rows
        inputs = [cells[index] for index in table.inputs]
        self.text_inputs.append(inputs[0] if len(inputs) == 1 else _joined(inputs))
        self.outputs.append(cells[table.output])
        self.lines.append(line)


class _Scanner:
    """Turns blocks into batches; between blocks it keeps only the text of the unfinished row."""

    def __init__(self, table: _Table) -> None:
        self._table = table
        self._text = ""
        self._line = 1
        self._undecodable: dict[int, Problem] = {}
        self._rescannable = _MAX_RESCANNED_CHARS
        self._is_skipping = False
        self._window, self._pause, self._paused = _WINDOW_CHARS, 0, 0

    @property
    def wanted_chars(self) -> int:
        """How many characters to collect before the next ``scan``, to restart a long row rarely."""
        return min(len(self._text), MAX_ROW_BYTES + 1 - len(self._text))

    def scan(self, blocks: Sequence[Block], *, is_last: bool) -> Iterator[Batch]:
        """Yield the rows that end in these blocks."""
        if blocks and not self._text:
            self._line = blocks[0].line
        self._text = text = self._text + "".join(block.text for block in blocks)
        for block in blocks:
            self._undecodable |= block.problems
        self._window, first_line = _WINDOW_CHARS, self._line
        rows = _Rows()
        at = self._skip_large_row() if self._is_skipping else 0
        while at < len(text):
            after = self._read_good_rows(rows, at) or self._read_row(rows, at, is_last=is_last)
            if after is None:
                break
            at = after
            if rows.is_full:
                yield self._batch(rows, first_line)
                rows = _Rows()
        if is_last:
            rows.problems += self._undecodable.values()
        yield self._batch(rows, first_line)
        self._text = text[at:]

    def _batch(self, rows: _Rows, first_line: int) -> Batch:
        locate = _locator(self._table, self._text, first_line, rows.lines)
        columns = rows.text_inputs, rows.outputs, rows.lines, rows.problems
        return Batch(self._table.path, *columns, locate)

    def _read_good_rows(self, rows: _Rows, at: int) -> int | None:
        """Take rows with ``csv.reader`` up to the first it refuses; return where it stopped.

        None if it took no row. After a refused row the window is small and the next rows are
        scanned one by one, so that files of nothing but bad rows are read in linear time.
        """
        table, text = self._table, self._text
        if not table.inputs or self._undecodable or self._paused:
            self._paused = max(0, self._paused - 1)
            return None
        stop = len(text)
        if stop - at > self._window:
            stop = text.rfind("\n", at, at + self._window) + 1
        lines = list(StringIO(text[at:stop], newline="\n"))
        count = self._take_rows(rows, lines)
        is_all = count == len(lines) > 0
        self._window = min(_WINDOW_CHARS, 2 * self._window) if is_all else _MIN_WINDOW_CHARS
        self._pause = 0 if count else min(_MAX_PAUSE_ROWS, 2 * self._pause + 1)
        self._paused = self._pause
        if not count:
            return None
        return self._advance(at, stop if is_all else at + sum(map(len, lines[:count])), count)

    def _take_rows(self, rows: _Rows, lines: Sequence[str]) -> int:
        """Add the good rows that ``lines`` begin with; return how many lines they take."""
        table, count = self._table, 0
        reader = csv.reader(lines, delimiter=table.delimiter, strict=True)
        try:
            for cells in reader:
                if len(cells) == table.width and (table.width > 1 or cells[0].strip()):
                    rows.add(table, cells, self._line + count)
                elif len(cells) > 1 or (cells and cells[0].strip()):
                    break
                count = reader.line_num
        except csv.Error:
            pass
        return count

    def _read_row(self, rows: _Rows, at: int, *, is_last: bool) -> int | None:
        """Read one row of any kind; return where the next begins, None if the row has no end yet."""
        after = self._read_any_row(rows, at, is_last=is_last)
        if after is None:
            return None
        newlines = self._text.count("\n", at, after)
        rows.problems += [
            self._undecodable.pop(line)
            for line in self._lines_of(newlines)
            if line in self._undecodable
        ]
        return self._advance(at, after, newlines)

    def _lines_of(self, newlines: int) -> range:
        """Return the lines of the row that starts on the current line."""
        return range(self._line, self._line + max(1, newlines) if self._undecodable else 0)

    def _read_any_row(self, rows: _Rows, at: int, *, is_last: bool) -> int | None:
        table, text = self._table, self._text
        stop = len(text) if self._rescannable > 0 else self._line_end(at)
        row = _scan_row(text, at, table.delimiter, stop, table.width + 1)
        if not row.error:
            return self._read_complete_row(rows, at, row)
        if row.error.kind == _UNCLOSED and stop == len(text):
            if stop - at <= MAX_ROW_BYTES and not is_last:
                return None
            if stop - at > MAX_ROW_BYTES and not self._contains_rows(at, stop):
                rows.problems.append(_too_large(table.path, self._line))
                self._is_skipping = True
                return stop
        return self._report_error(rows, at, row.error, stop)

    def _report_error(self, rows: _Rows, at: int, error: _RowError, stop: int) -> int:
        """Report why a row ends too early, and continue at the line after its first."""
        kind, place = error.kind, error.at
        if kind == _TEXT_AFTER_QUOTE and self._is_opening_quote(error.cell_start, error.at - 1):
            kind, place = _UNCLOSED, error.cell_start
        position = _line_and_column(self._text, at, self._line, place)
        problem = _malformed(self._table.path, position, kind)
        if rows.problems[-1:] != [problem]:  # several rows may run into the same quote
            rows.problems.append(problem)
        after = self._line_end(at)
        scanned = stop if error.kind == _UNCLOSED else error.at
        self._rescannable -= max(0, scanned - after)
        return after

    def _read_complete_row(self, rows: _Rows, at: int, row: _ScannedRow) -> int:
        table, text, cells = self._table, self._text, row.cells
        line_end = self._line_end(at)
        if row.end - at > MAX_ROW_BYTES:
            rows.problems.append(_too_large(table.path, self._line))
        elif row.width == 1 and not _unquoted(text[slice(*cells[0])]).strip():
            pass  # a blank line
        elif row.width == table.width:
            lines = self._lines_of(text.count("\n", at, row.end))
            if table.inputs and not any(line in self._undecodable for line in lines):
                rows.add(table, _cell_texts(text, row), self._line)
        elif row.end > line_end and self._contains_rows(at, row.end):
            opened = next((start for start, end in cells if end > line_end), cells[-1][0])
            return self._report_error(rows, at, _RowError(_UNCLOSED, opened, opened), row.end)
        else:
            place = cells[table.width][0] if row.width > table.width else cells[-1][1]
            position = _line_and_column(text, at, self._line, place)
            rows.problems.append(_ragged(table.path, position, row, table.width))
        return row.end

    def _skip_large_row(self) -> int:
        """Continue after a row that is too large: on the line after the one that closes its quote."""
        close = _TO_CLOSING_QUOTE.match(self._text)
        after = self._line_end(close.end() - 1) if close else len(self._text)
        self._is_skipping = not close
        return self._advance(0, after, self._text.count("\n", 0, after))

    def _advance(self, at: int, after: int, lines: int) -> int:
        self._line += lines
        self._rescannable += after - at
        return after

    def _line_end(self, at: int) -> int:
        return self._text.find("\n", at) + 1 or len(self._text)

    def _is_opening_quote(self, opened: int, quote: int) -> bool:
        """Whether a quote that should close a cell looks like one that opens a later row's cell."""
        starts_cell = self._text[quote - 1] in ("\n", self._table.delimiter)
        return starts_cell and self._text.find("\n", opened, quote) >= 0

    def _contains_rows(self, at: int, stop: int) -> bool:
        """Whether some line of a long row, except its first, looks like a row itself."""
        for _ in range(_MAX_SAMPLE_LINES):
            at = self._line_end(at)
            if at >= stop:
                return False
            table, text = self._table, self._text
            row = _scan_row(text, at, table.delimiter, self._line_end(at), table.width)
            stray_quote = any(
                text[start] != '"' and '"' in text[start:end]
                for start, end in row.cells
                if start < end
            )
            if not row.error and row.width == table.width and not stray_quote:
                return True
        return False


def _scan_row(
    text: str, start: int, delimiter: str, end: int | None = None, most: int = _MAX_HEADER_CELLS
) -> _ScannedRow:
    """Find the cells of the row at ``start`` by the rules of ``csv.reader(strict=True)``.

    Args:
        text: The text that holds the row.
        start: The index of the row's first character.
        delimiter: Separates the cells.
        end: Nothing from here on is scanned.
        most: How many cells are returned; all are counted.
    """
    stop = len(text) if end is None else end
    bare_cell = _bare_cell(delimiter)
    cells: list[tuple[int, int]] = []
    at, count = start, 0
    while True:
        is_quoted = text.startswith('"', at, stop)
        cell = (_QUOTED_CELL if is_quoted else bare_cell).match(text, at, stop)
        if not cell:
            return _ScannedRow(cells, count, stop, _RowError(_UNCLOSED, at, at))
        count += 1
        if count <= most:
            cells.append(cell.span())
        after = cell.end()
        if text.startswith(delimiter, after, stop):
            at = after + 1
        elif row_end := _ROW_END.match(text, after, stop):
            return _ScannedRow(cells, count, row_end.end())
        else:
            kind = _BARE_RETURN if text.startswith("\r", after) else _TEXT_AFTER_QUOTE
            return _ScannedRow(cells, count, stop, _RowError(kind, after, at))


@cache
def _bare_cell(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf"[^{re.escape(delimiter)}\r\n]*+")


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


def _cell_texts(text: str, row: _ScannedRow) -> list[str]:
    return [_unquoted(text[start:end]) for start, end in row.cells]


def _joined(texts: Sequence[str]) -> str:
    return SEPARATOR.join(filter(None, texts))


def _line_and_column(text: str, at: int, line: int, place: int) -> tuple[int, int]:
    """Return the place of a character of the row that begins at ``at``, on ``line``."""
    before = text.rfind("\n", at, place)
    return line + text.count("\n", at, place), place - (before if before >= 0 else at - 1)


def _locator(table: _Table, text: str, first_line: int, lines: Sequence[int]) -> Locate:
    """Return a ``locate`` for rows of a text that begins on ``first_line``."""
    line_starts = cache(lambda: [0, *(each.end() for each in _NEWLINE.finditer(text))])

    def locate(row: int, field: Field, offset: int = 0) -> tuple[int, int]:
        line = lines[row]
        at = line_starts()[line - first_line]
        cells = _scan_row(text, at, table.delimiter).cells
        if field == "output":
            cell = cells[table.output]
        else:
            inputs = [cells[index] for index in table.inputs or ()]
            cell, offset = _cell_at(text, inputs, offset)
        return _line_and_column(text, at, line, _index_in_cell(text, cell, offset))

    return locate


def _cell_at(
    text: str, inputs: Sequence[tuple[int, int]], offset: int
) -> tuple[tuple[int, int], int]:
    """Find the cell, of those joined to an input, that holds a character of the input."""
    sizes = [(cell, len(_unquoted(text[slice(*cell)]))) for cell in inputs]
    filled = [each for each in sizes if each[1]] or sizes[:1]
    for cell, size in filled[:-1]:
        if offset < size + len(SEPARATOR):
            return cell, min(offset, size)
        offset -= size + len(SEPARATOR)
    return filled[-1][0], offset


def _index_in_cell(text: str, cell: tuple[int, int], offset: int) -> int:
    """Return the index in ``text`` of character ``offset`` of a cell's unquoted text."""
    start, end = cell
    if not text.startswith('"', start, end):
        return start + offset
    at = start + 1
    while quote := text.find('"', at, end - 1) + 1:
        if offset <= quote - 1 - at:
            break
        offset -= quote - at
        at = quote + 1
    return at + offset


def _malformed(path: str, place: tuple[int, int], kind: int) -> Problem:
    what, fix = _ADVICE[kind]
    return Problem(path, *place, what, fix, "bad-csv")


def _ragged(path: str, place: tuple[int, int], row: _ScannedRow, width: int) -> Problem:
    count = f"{row.width:,} cell{'s' if row.width != 1 else ''}"
    quote = (
        'put quotes around a cell that holds a delimiter: "a, b", with no space before the quote'
    )
    fix = quote if row.width > width else "add the missing cells, or delete the row"
    what = f"{count} where the first row has {width:,}"
    return Problem(path, *place, what, fix, "ragged-row")


def _too_large(path: str, line: int) -> Problem:
    what = f"a row of more than {MAX_ROW_BYTES // 2**20} MiB"
    fix = "delete it: no model takes a text that long; perhaps a quote in it is never closed"
    return Problem(path, line, 1, what, fix, "row-too-large")
