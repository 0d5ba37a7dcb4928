"""Read CSV and TSV with ``csv.reader``, and place every row and error by line and column.

Rows that ``csv.reader(strict=True)`` accepts are taken from it. A row it refuses is scanned by
``_scan_row``, which follows the same rules and knows where each cell is.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from io import StringIO
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from tuner.data.dataset import BATCH_ROWS, Batch, Columns, problems_only
from tuner.data.encoding import MAX_ROW_BYTES, Block, line_and_column, read_blocks, too_large
from tuner.data.record_formats import SEPARATOR, detect_record_format, joined, missing_columns
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tuner.data.dataset import Field, Locate, Source

    Span = tuple[int, int]

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
"""Limit of characters read twice: an unclosed quote is read to the end of the text, and a file
may hold a million of them."""
_WINDOW_CHARS = 2**18
"""Characters given to ``csv.reader`` at once; the copy of them takes four bytes each."""
_MAX_SAMPLE_LINES = 1000
"""Lines of a long row that are examined for whether its quote was never closed."""

_UNCLOSED = (
    "a quote opened here is never closed",
    'close it, or write a quote that belongs to the text twice: ""',
)
_TEXT_AFTER_QUOTE = (
    "text follows a closing quote",
    'write a quote that belongs to the text twice: ""',
)
_BARE_RETURN = (
    "a bare carriage return outside quotes",
    "save the file with LF or CRLF line ends, or put quotes around the cell",
)


class _RowError(NamedTuple):
    """An error that ends a row early: message, fix, and the indexes of the character and its cell."""

    why: tuple[str, str]
    at: int
    cell_start: int


class _ScannedRow(NamedTuple):
    """A row's cells (start and end, quotes included), their number, and where the next row begins."""

    cells: list[Span]
    width: int
    end: int
    error: _RowError | None = None


class _Header(NamedTuple):
    names: list[str]
    width: int
    line: int
    delimiter: str
    below: Block


class _Table(NamedTuple):
    """The columns of the header; ``inputs`` and ``output`` are indexes, no inputs if one is missing."""

    path: str
    delimiter: str
    width: int
    inputs: tuple[int, ...]
    output: int


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
    first = next(blocks, Block())
    header = _read_header(path, source.columns, first)
    if isinstance(header, Problem):
        yield problems_only(path, *([*first.problems.values()] or [header]))
        return
    names = header.names
    inputs, output = _wanted_columns(names, source)
    if not inputs:
        what = "is CSV, whose cells are texts, and a conversation is a list of messages"
        fix = "leave format out, or name the file meant"
        yield problems_only(path, Problem(str(path), 1, 0, what, fix, "no-column"))
        return
    problems = _header_problems(path, Columns(inputs[0], output), header)
    yield problems_only(path, *problems)
    indexes = () if problems else tuple(map(names.index, inputs))
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
    first = next(read_blocks(path, source.encoding), Block())
    header = _read_header(path, source.columns, first)
    return [] if isinstance(header, Problem) else header.names


def _wanted_columns(names: Sequence[str], source: Source) -> tuple[Sequence[str], str]:
    """Return the columns that are joined to the input, and the output's; no inputs for messages."""
    match detect_record_format(names, source):
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
        what, fix = "there is no header row", "add one: text_input,output"
        return Problem(str(path), 1, 0, what, fix, "no-header")
    is_tsv = path.name.lower().removesuffix(".gz").endswith(".tsv")
    candidates = (sep[1],) if sep else ("\t",) if is_tsv else DELIMITERS
    rows = {each: _scan_row(text, start, each) for each in candidates}
    delimiter = max(candidates, key=lambda each: _fitness(text, rows[each], columns))
    row = rows[delimiter]
    if row.error:
        return _malformed(str(path), text, start, line, row.error)
    next_line = first.line + text.count("\n", 0, row.end)
    problems = {bad: each for bad, each in first.problems.items() if bad >= next_line}
    below = Block(text[row.end :], next_line, problems)
    return _Header(_cell_texts(text, row), row.width, line, delimiter, below)


def _fitness(text: str, row: _ScannedRow, columns: Columns) -> tuple[int, bool, int]:
    """Rank a delimiter by the number of wanted columns it yields, then by that of all columns."""
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
        """Add a valid row."""
        inputs = [cells[index] for index in table.inputs]
        self.text_inputs.append(inputs[0] if len(inputs) == 1 else joined(*inputs))
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
        self._window, self._window_start, self._window_end = StringIO(), 0, 0

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
        self._window_end = 0
        first_line, rows = self._line, _Rows()
        at = self._skip_large_row() if self._is_skipping else 0
        while at < len(text):
            after: int | None = self._read_good_rows(rows, at)
            if after == at:
                after = self._read_row(rows, at, is_last=is_last)
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

    def _read_good_rows(self, rows: _Rows, at: int) -> int:
        """Read rows with ``csv.reader`` up to the first invalid one; return where it stopped."""
        table, line = self._table, self._line
        if not table.inputs or self._undecodable or self._rescannable <= 0:
            return at
        if at >= self._window_end:
            newline = self._text.rfind("\n", at, at + _WINDOW_CHARS)
            self._window_start, self._window_end = at, newline + 1 or self._line_end(at)
            self._window = StringIO(self._text[at : self._window_end], newline="\n")
        file, start = self._window, self._window_start
        after = file.seek(at - start)
        reader = csv.reader(file, delimiter=table.delimiter, strict=True)
        try:
            for cells in reader:
                if len(cells) == table.width and (table.width > 1 or cells[0].strip()):
                    rows.add(table, cells, line)
                elif len(cells) > 1 or (cells and cells[0].strip()):
                    break
                after, line = file.tell(), self._line + reader.line_num
                if len(rows.lines) >= BATCH_ROWS:
                    break
        except csv.Error:
            pass
        self._rescannable -= file.tell() - after
        return self._advance(at, start + after, line - self._line)

    def _read_row(self, rows: _Rows, at: int, *, is_last: bool) -> int | None:
        """Read one row of any kind; return where the next begins, None if the row has no end yet."""
        table, text = self._table, self._text
        stop = len(text) if self._rescannable > 0 else self._line_end(at)
        row = _scan_row(text, at, table.delimiter, stop, table.width + 1)
        if not row.error:
            after = self._read_complete_row(rows, at, row)
        elif row.error.why is not _UNCLOSED or stop < len(text):
            after = self._report_error(rows, at, row.error, stop)
        elif stop - at <= MAX_ROW_BYTES and not is_last:
            return None
        elif stop - at > MAX_ROW_BYTES and not self._contains_rows(at, stop):
            rows.problems.append(too_large(table.path, self._line))
            self._is_skipping = True
            after = stop
        else:
            after = self._report_error(rows, at, row.error, stop)
        newlines = text.count("\n", at, after)
        rows.problems += self._undecodable_in(newlines)
        for each in self._undecodable_in(newlines):
            del self._undecodable[each.line]
        return self._advance(at, after, newlines)

    def _undecodable_in(self, newlines: int) -> list[Problem]:
        """Return the problems of the lines of the row that starts on the current line."""
        lines = range(self._line, self._line + max(1, newlines)) if self._undecodable else ()
        return [self._undecodable[line] for line in lines if line in self._undecodable]

    def _read_complete_row(self, rows: _Rows, at: int, row: _ScannedRow) -> int:
        table, text, cells = self._table, self._text, row.cells
        line_end = self._line_end(at)
        if row.end - at > MAX_ROW_BYTES:
            rows.problems.append(too_large(table.path, self._line))
        elif row.width == 1 and not _unquoted(text[slice(*cells[0])]).strip():
            pass  # a blank line
        elif row.width == table.width:
            if table.inputs and not self._undecodable_in(text.count("\n", at, row.end)):
                rows.add(table, _cell_texts(text, row), self._line)
        elif row.end > line_end and self._contains_rows(at, row.end):
            opened = next((start for start, end in cells if end > line_end), cells[-1][0])
            return self._report_error(rows, at, _RowError(_UNCLOSED, opened, opened), row.end)
        else:
            place = cells[table.width][0] if row.width > table.width else cells[-1][1]
            position = line_and_column(text, place, self._line, start=at)
            rows.problems.append(_ragged(table.path, position, row, table.width))
        return row.end

    def _report_error(self, rows: _Rows, at: int, error: _RowError, stop: int) -> int:
        """Report why a row ends too early, and continue at the line after its first."""
        after = self._line_end(at)
        scanned = stop if error.why is _UNCLOSED else error.at
        self._rescannable -= max(0, scanned - after)
        if error.why is _TEXT_AFTER_QUOTE and self._is_opening_quote(error):
            error = _RowError(_UNCLOSED, error.cell_start, error.cell_start)
        problem = _malformed(self._table.path, self._text, at, self._line, error)
        if rows.problems[-1:] != [problem]:  # several rows may run into the same quote
            rows.problems.append(problem)
        return after

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

    def _is_opening_quote(self, error: _RowError) -> bool:
        """Whether a quote that should close a cell looks like one that opens a later row's cell."""
        quote = error.at - 1
        starts_cell = self._text[quote - 1] in ("\n", self._table.delimiter)
        return starts_cell and self._text.find("\n", error.cell_start, quote) >= 0

    def _contains_rows(self, at: int, stop: int) -> bool:
        """Whether some line of a long row, except its first, looks like a row itself."""
        table, text = self._table, self._text
        for _ in range(_MAX_SAMPLE_LINES):
            at = self._line_end(at)
            if at >= stop:
                return False
            row = _scan_row(text, at, table.delimiter, self._line_end(at), table.width)
            bare = [text[start:end] for start, end in row.cells if not text.startswith('"', start)]
            if not row.error and row.width == table.width and not any('"' in each for each in bare):
                return True
        return False


def _scan_row(
    text: str, start: int, delimiter: str, end: int | None = None, most: int = _MAX_HEADER_CELLS
) -> _ScannedRow:
    """Find the cells of the row at ``start`` by the rules of ``csv.reader(strict=True)``.

    Nothing from ``end`` on is scanned; at most ``most`` cells are returned, but all are counted.
    """
    stop = len(text) if end is None else end
    bare_cell = _bare_cell(delimiter)
    cells: list[Span] = []
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
            why = _BARE_RETURN if text.startswith("\r", after) else _TEXT_AFTER_QUOTE
            return _ScannedRow(cells, count, stop, _RowError(why, after, at))


@cache
def _bare_cell(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf"[^{re.escape(delimiter)}\r\n]*+")


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


def _cell_texts(text: str, row: _ScannedRow) -> list[str]:
    return [_unquoted(text[start:end]) for start, end in row.cells]


def _locator(table: _Table, text: str, first_line: int, lines: Sequence[int]) -> Locate:
    """Return a ``locate`` for rows of a text that begins on ``first_line``."""
    line_starts = cache(lambda: [0, *(each.end() for each in _NEWLINE.finditer(text))])

    def locate(row: int, field: Field, offset: int = 0) -> tuple[int, int]:
        line = lines[row]
        at = line_starts()[line - first_line]
        cells = _scan_row(text, at, table.delimiter).cells
        cell = cells[table.output]
        if field == "text_input":
            cell, offset = _cell_at(text, [cells[index] for index in table.inputs], offset)
        return line_and_column(text, _index_in_cell(text, cell, offset), line, start=at)

    return locate


def _cell_at(text: str, inputs: Sequence[Span], offset: int) -> tuple[Span, int]:
    """Find the cell, of those joined to an input, that holds a character of the input."""
    sizes = [(cell, len(_unquoted(text[slice(*cell)]))) for cell in inputs]
    filled = [each for each in sizes if each[1]] or sizes[:1]
    for cell, size in filled[:-1]:
        if offset < size + len(SEPARATOR):
            return cell, min(offset, size)
        offset -= size + len(SEPARATOR)
    return filled[-1][0], offset


def _index_in_cell(text: str, cell: Span, offset: int) -> int:
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


def _malformed(path: str, text: str, at: int, line: int, error: _RowError) -> Problem:
    """Return the problem of the row that begins at ``at``, on ``line``."""
    place = line_and_column(text, error.at, line, start=at)
    return Problem(path, *place, *error.why, "bad-csv")


def _ragged(path: str, place: tuple[int, int], row: _ScannedRow, width: int) -> Problem:
    what = f"{row.width:,} cell{'s' if row.width != 1 else ''} where the first row has {width:,}"
    fix = "add the missing cells, or delete the row"
    if row.width > width:
        fix = "put quotes around a cell that holds a delimiter"
        fix += ': "a, b", with no space before the quote'
    return Problem(path, *place, what, fix, "ragged-row")
