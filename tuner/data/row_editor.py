"""Replace single texts in a row of a file, and keep the rest of the row unchanged."""

from __future__ import annotations

import csv
import json
import math
import re
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tuner.data.csv import DELIMITERS, SEP_LINE
from tuner.data.json import scan, value_index
from tuner.data.record_formats import Parts, RecordError, detect_record_format, record_reader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.data.dataset import Source
    from tuner.data.record_formats import KeyPath

_TO_QUOTE = re.compile(r'["\r\n]')
_MAX_CELL = 2**31 - 1


class RowRepair(NamedTuple):
    """A repaired row, with the text before and after the repair."""

    raw: str
    before: str
    after: str


class Form(Protocol):
    """Reads and edits single rows of one file."""

    def parts(self, raw: str) -> list[Parts]:
        """Return the examples of a row with the places of their texts; none if it cannot be read."""

    def put(self, raw: str, texts: Mapping[KeyPath, str]) -> str:
        """Return the row with other texts at these places."""

    def repair(self, raw: str) -> RowRepair | None:
        """Repair an unreadable row if there is exactly one way to do so; otherwise return None."""


class CsvForm:
    """Edits rows of CSV; the other cells of a changed row keep their texts, not their quotes."""

    def __init__(self, header: str, source: Source) -> None:
        """Detect the delimiter and columns; ``header`` is the text above the first row."""
        csv.field_size_limit(_MAX_CELL)
        sep = SEP_LINE.match(header)
        below = header[sep.end() :] if sep else header
        some = (sep[1],) if sep else DELIMITERS
        rows = {each: _cells(below, each) or [] for each in some}
        self._delimiter = max(some, key=lambda each: (_fit(rows[each], source), len(rows[each])))
        self._names = rows[self._delimiter]
        self._source = source

    def parts(self, raw: str) -> list[Parts]:
        """Implement Form."""
        cells = _cells(raw, self._delimiter)
        record_format = detect_record_format(self._names, self._source)
        if not cells or len(cells) != len(self._names) or not record_format:
            return []
        return _parts(
            record_reader(record_format)(dict(zip(self._names, cells, strict=True)), self._source)
        )

    def put(self, raw: str, texts: Mapping[KeyPath, str]) -> str:
        """Implement Form."""
        cells = _cells(raw, self._delimiter) or []
        for (name,), text in texts.items():
            cells[self._names.index(str(name))] = text
        return self._written(cells, raw)

    def repair(self, raw: str) -> RowRepair | None:
        """Cut off empty cells beyond the named columns."""
        cells, width = _cells(raw, self._delimiter) or [], len(self._names)
        if len(cells) <= width or any(map(str.strip, cells[width:])):
            return None
        return RowRepair(self._written(cells[:width], raw), f"{len(cells)} cells", f"{width} cells")

    def _written(self, cells: Sequence[str], raw: str) -> str:
        end = "\r\n" if raw.endswith("\r\n") else "\n" if raw.endswith("\n") else ""
        return self._delimiter.join(_quoted(cell, self._delimiter) for cell in cells) + end


class JsonForm:
    """Edits objects of JSON Lines; everything but the replaced texts stays unchanged."""

    def __init__(self, source: Source) -> None:
        """Use the record format of the first object that is read."""
        self._source = source
        self._record_format = ""

    def parts(self, raw: str) -> list[Parts]:
        """Implement Form."""
        return _parts(self._read(raw))

    def put(self, raw: str, texts: Mapping[KeyPath, str]) -> str:
        """Implement Form."""
        return _spliced(raw, {value_index(raw, path): text for path, text in texts.items()})

    def repair(self, raw: str) -> RowRepair | None:
        """Put quotes around numbers, true and false."""
        errors = [each for each in self._read(raw) if isinstance(each, RecordError)]
        places = [value_index(raw, each.path) for each in errors if each.rule == "not-text"]
        if not errors or len(places) < len(errors) or not all(_is_scalar(raw, at) for at in places):
            return None
        words = {at: raw[at : scan(raw, at)[1]] for at in places}
        repaired = _spliced(raw, words)
        after = ", ".join(map(json.dumps, words.values()))
        return (
            RowRepair(repaired, ", ".join(words.values()), after) if self.parts(repaired) else None
        )

    def _read(self, raw: str) -> Sequence[Parts | RecordError]:
        try:
            value, end = scan(raw, len(raw) - len(raw.lstrip()))
        except (StopIteration, ValueError, RecursionError):
            return ()
        if not isinstance(value, dict) or raw[end:].strip():
            return ()
        self._record_format = self._record_format or detect_record_format(value, self._source)
        return (
            record_reader(self._record_format)(value, self._source) if self._record_format else ()
        )


def _parts(found: Sequence[Parts | RecordError]) -> list[Parts]:
    parts = [each for each in found if isinstance(each, Parts)]
    return parts if len(parts) == len(found) else []


def _spliced(raw: str, texts: Mapping[int, str]) -> str:
    """Replace the values that begin at these indexes by texts."""
    for at, text in sorted(texts.items(), reverse=True):
        raw = raw[:at] + json.dumps(text, ensure_ascii=False) + raw[scan(raw, at)[1] :]
    return raw


def _cells(raw: str, delimiter: str) -> list[str] | None:
    """Return the cells of one row; None if there is not exactly one."""
    lines = StringIO(raw, newline="")
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    full = [row for row in rows if len(row) > 1 or any(map(str.strip, row))]
    return full[0] if len(full) == 1 else None


def _quoted(cell: str, delimiter: str) -> str:
    """Quote a cell if necessary; ``csv.writer`` leaves a bare carriage return unquoted."""
    if delimiter not in cell and not _TO_QUOTE.search(cell):
        return cell
    return '"' + cell.replace('"', '""') + '"'


def _fit(names: Sequence[str], source: Source) -> bool:
    """Whether the names include the columns to read."""
    return set(source.columns) <= set(names) or bool(
        detect_record_format(names, source) and len(names) > 1
    )


def _is_scalar(raw: str, at: int) -> bool:
    value: Any = scan(raw, at)[0]
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
