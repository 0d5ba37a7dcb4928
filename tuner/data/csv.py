"""Read examples from CSV, or TSV, to the letter."""

from __future__ import annotations

import csv
from itertools import chain
from typing import TYPE_CHECKING

from tuner.data import in_batches
from tuner.data.columns import missing_columns
from tuner.data.lines import read_lines
from tuner.errors import Problem
from tuner.types import Example

if TYPE_CHECKING:
    from _csv import Reader
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.data import Batch, Columns, Row, Source

DELIMITERS = (",", ";", "\t", "|")
MAX_CELL = 2**31 - 1
"""csv's own limit of 131,072 characters a cell is less than a model may take."""

_ADVICE = {
    "unexpected end of data": (
        "a quote opened in this row is never closed",
        'close it, or write a quote that belongs to the text twice: ""',
    ),
    "expected after": (
        "text follows a closing quote",
        'write a quote that belongs to the text twice: ""',
    ),
    "new-line character": (
        "a bare carriage return outside quotes",
        "save the file with ordinary line ends, or put quotes around the cell",
    ),
}


def read(path: Path, source: Source) -> Iterator[Batch]:
    """Yield the rows of a file in batches; see ``read_rows``."""
    return in_batches(path, read_rows(path, source.columns, source.encoding))


def read_rows(path: Path, columns: Columns, encoding: str) -> Iterator[Row]:
    """Yield the rows of a CSV file in file order, one in memory at a time.

    Text stays as written: nothing is stripped, ``NA`` and ``007`` are text, and the newlines of
    a quoted cell are kept. Blank lines are skipped.

    Args:
        path: Its first row names the columns. In a ``.tsv`` tabs part the cells, elsewhere
            whatever of comma, semicolon, tab and bar the first row is parted by.
        columns: Which column holds ``text_input`` and which ``output``.
        encoding: Any that extends ASCII; a byte-order mark of UTF-8 is allowed.

    Yields:
        An Example for a good row, a Problem for a bad one. ``line`` (1-based) is where the row
        starts, which after a quoted multi-line cell is not the row's number.

    Raises:
        OSError: The file cannot be read.
    """
    csv.field_size_limit(MAX_CELL)
    bad: list[Problem] = []
    lines = read_lines(path, encoding, bad)
    first = next(lines, "")
    tabs = path.suffix.lower() == ".tsv"
    delimiter = "\t" if tabs else _delimiter(first, columns)
    reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    rows = _rows(str(path), reader, bad)
    header = next(rows, None)
    if not isinstance(header, tuple):
        what, fix = "there is no first row to name the columns", "add one: text_input,output"
        yield header or Problem(str(path), 1, 0, what, fix, "no-header")
        return
    yield from _examples(str(path), columns, header, rows)


def _delimiter(header: str, columns: Columns) -> str:
    """The one that parts the named columns, or else the one there is most of."""

    def fitness(delimiter: str) -> tuple[int, int]:
        cells = [cell.strip().strip('"') for cell in header.split(delimiter)]
        return sum(name in cells for name in columns), len(cells)

    return max(DELIMITERS, key=fitness)


def _rows(
    path: str, reader: Reader, bad: list[Problem]
) -> Iterator[tuple[int, list[str]] | Problem]:
    """Yield every row that is not blank with the line it starts on, and what is wrong with others.

    ``bad`` is filled by whoever reads the lines, while a row is being read.
    """
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            yield from bad
            return
        except csv.Error as error:
            yield _malformed(path, line, str(error))
            row = []
        if bad:
            yield from bad
            bad.clear()
        elif len(row) > 1 or (row and row[0].strip()):
            yield line, row


def _examples(
    path: str,
    columns: Columns,
    header: tuple[int, list[str]],
    rows: Iterator[tuple[int, list[str]] | Problem],
) -> Iterator[Row]:
    line, names = header
    missing = list(missing_columns(path, line, columns, names, "column"))
    twice = [name for name in columns if names.count(name) > 1]
    for name in dict.fromkeys(twice):
        what = f"{names.count(name)} columns are named {name!r}"
        missing.append(Problem(path, line, 0, what, "rename all but one", "repeated-column"))
    yield from missing
    source, answer = (names.index(name) if name in names else 0 for name in columns)
    for row in rows:
        if isinstance(row, Problem):
            yield row
        elif len(row[1]) != len(names):
            yield _ragged(path, row, len(names))
        elif not missing:
            yield Example(row[1][source], row[1][answer], row[0])


def _ragged(path: str, row: tuple[int, list[str]], width: int) -> Problem:
    line, cells = row
    count = f"{len(cells)} cell{'s' if len(cells) != 1 else ''}"
    what = f"{count} where the first row has {width}"
    more = 'put quotes around a cell that holds a delimiter: "a, b", with no space before the quote'
    fix = more if len(cells) > width else "add the missing cells, or delete the row"
    return Problem(path, line, 0, what, fix, "ragged-row")


def _malformed(path: str, line: int, said: str) -> Problem:
    for words, (what, fix) in _ADVICE.items():
        if words in said:
            return Problem(path, line, 0, what, fix, "bad-csv")
    return Problem(path, line, 0, f"is not CSV: {said}", "check the quotes of this row", "bad-csv")
