"""Read examples from CSV, or TSV, to the letter."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from tuner.data import Batch, nowhere
from tuner.data.formats.blocks import BLOCK, Block, read_blocks
from tuner.data.formats.columns import missing_columns
from tuner.data.formats.csv_faults import malformed
from tuner.data.formats.csv_rows import plain, walk
from tuner.data.formats.csv_text import Scanner, Table, place_of
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tuner.data import Columns, Source
    from tuner.data.formats.csv_rows import Row

DELIMITERS = (",", ";", "\t", "|")
_SEP = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)
"""Excel's own first line, which is no row."""
_FEW = 4
"""Blocks up to which importing numpy, some 80 ms, does not pay."""
_BLANK = re.compile(r"(?:[ \t\r]*\n)*")


def read(path: Path, source: Source) -> Iterator[Batch]:
    """Yield the rows of a CSV file in file order, some thousand in memory at a time.

    Text stays as written: nothing is stripped, ``NA`` and ``007`` are text, and the newlines of
    a quoted cell are kept. Blank lines are skipped. The line of a row (1-based) is where it
    starts, which after a quoted multi-line cell is not the row's number.

    Args:
        path: Its first row names the columns. In a ``.tsv`` tabs part the cells, elsewhere
            whatever of comma, semicolon, tab and bar the first row is parted by, or what a line
            ``sep=;`` before it says.
        source: Which columns hold ``text_input`` and ``output``, and the file's encoding.

    Raises:
        OSError: The file cannot be read.
    """
    blocks = read_blocks(path, source.encoding)
    first = next(blocks, Block(str(path), b"", 1))
    head = _head(path, source.columns, first)
    if isinstance(head, Problem):
        problems = [*first.problems.values()] or [head]
        yield Batch(str(path), (), (), (), problems, nowhere)
        return
    yield Batch(str(path), (), (), (), _flaws(path, source.columns, head), nowhere)
    few = _FEW if path.stat().st_size < _FEW * BLOCK else 0
    yield from _rows(_table(path, source.columns, head), chain([head.below], blocks), few)


def header(path: Path, source: Source) -> list[str]:
    """The names in the first row; none when it cannot be read.

    Raises:
        OSError: The file cannot be read.
    """
    first = next(read_blocks(path, source.encoding), Block(str(path), b"", 1))
    head = _head(path, source.columns, first)
    return [] if isinstance(head, Problem) else head.names


class _Head(NamedTuple):
    """The first row: its cells and where they begin, and what stands below it."""

    names: list[str]
    width: int
    line: int
    delimiter: str
    below: Block


def _head(path: Path, columns: Columns, first: Block) -> _Head | Problem:
    text = first.text
    said = _SEP.match(text)
    begin = said.end() if said else 0
    blank = _BLANK.match(text, begin)
    start = blank.end() if blank else begin
    line = first.line + text.count("\n", 0, start)
    if start == len(text) or any(bad < line for bad in first.problems):
        what, fix = "there is no first row to name the columns", "add one: text_input,output"
        return Problem(str(path), 1, 0, what, fix, "no-header")
    tabs = path.name.lower().removesuffix(".gz").endswith(".tsv")
    some = (said[1],) if said else ("\t",) if tabs else DELIMITERS
    rows = {each: walk(text, start, each) for each in some}
    delimiter = max(some, key=lambda each: _fitness(text, rows[each], columns))
    row = rows[delimiter]
    if row.fault:
        place = place_of(text, start, line, row.fault.at)
        return malformed(str(path), place, row.fault.kind)
    passed = text.count("\n", 0, row.end)
    behind = first.raw.split(b"\n", passed)[passed] if row.end < len(text) else b""
    below = first.behind(len(first.raw) - len(behind), passed)
    return _Head(_names(text, row), row.width, line, delimiter, below)


def _names(text: str, row: Row) -> list[str]:
    return [plain(text[start:end]) for start, end in row.cells]


def _fitness(text: str, row: Row, columns: Columns) -> tuple[int, bool, int]:
    """A delimiter is the better the more of the named columns it parts, or else of any."""
    names = [name.strip() for name in _names(text, row)]
    return sum(name in names for name in columns), not row.fault, len(names)


def _flaws(path: Path, columns: Columns, head: _Head) -> list[Problem]:
    """What is wrong with the names of the columns."""
    flaws = list(missing_columns(str(path), head.line, columns, head.names, "column"))
    for name in dict.fromkeys(name for name in columns if head.names.count(name) > 1):
        what = f"{head.names.count(name)} columns are named {name!r}"
        flaws.append(
            Problem(str(path), head.line, 0, what, "rename all but one", "repeated-column")
        )
    return flaws


def _table(path: Path, columns: Columns, head: _Head) -> Table:
    names = head.names
    usable = all(names.count(name) == 1 for name in columns)
    text_input, output = (names.index(name) if usable else 0 for name in columns)
    wanted = (text_input, output) if usable else None
    return Table(str(path), head.delimiter, head.width, wanted)


def _rows(table: Table, blocks: Iterable[Block], few: int) -> Iterator[Batch]:
    """What the blocks below the first row hold.

    After the first few those of plain rows are taken from their bytes, and the others explained.
    """
    scanner = Scanner(table)
    held: list[Block] = []
    cut: Block | None = None
    for number, block in enumerate(blocks):
        rows = cut.before(block) if cut else block
        cut = None
        if number >= few and not held and scanner.is_between_rows and _is_usual(rows, table):
            from tuner.data.formats.csv_bytes import take

            batch, rest, is_stuck = take(rows, table)
            yield batch
            if not is_stuck:
                cut = rest if rest.raw else None
                continue
            rows = rest
        held.append(rows)
        if sum(len(each.text) for each in held) >= scanner.needs:
            yield from scanner.scan(held, is_last=False)
            held = []
    yield from scanner.scan([*held, cut] if cut else held, is_last=True)


def _is_usual(block: Block, table: Table) -> bool:
    is_text = block.encoding == "utf-8" and not block.is_unread
    return is_text and table.wanted is not None and table.width > 1 and table.delimiter.isascii()
