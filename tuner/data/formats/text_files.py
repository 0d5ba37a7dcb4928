"""Records as the bytes of a text file: CSV, TSV, JSON Lines, a JSON array; texts to the letter."""

from __future__ import annotations

import json
import re
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Record = Mapping[str, Any]
    Keys = Sequence[str]

_TO_QUOTE = re.compile(r'[",;|\t\r\n\0]|^\s|\s$')
_encode = json.JSONEncoder(ensure_ascii=False).encode
_encode_ascii = json.JSONEncoder().encode


def as_csv(file: IO[bytes], keys: Keys, records: Iterable[Record]) -> None:
    """Comma and newline; only a cell that needs quotes gets them."""
    _rows(file, keys, records, ",")


def as_tsv(file: IO[bytes], keys: Keys, records: Iterable[Record]) -> None:
    """Tab and newline; a cell that holds one of them is quoted as in CSV."""
    _rows(file, keys, records, "\t")


def as_jsonl(file: IO[bytes], _keys: Keys, records: Iterable[Record]) -> None:
    """An object a line."""
    for record in records:
        file.write(_object(record) + b"\n")


def as_json(file: IO[bytes], _keys: Keys, records: Iterable[Record]) -> None:
    """An array with an object a line."""
    before = b"[\n"
    for record in records:
        file.write(before + _object(record))
        before = b",\n"
    file.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def _rows(file: IO[bytes], keys: Keys, records: Iterable[Record], delimiter: str) -> None:
    file.write(_row(keys, delimiter))
    for record in records:
        file.write(_row(record.values(), delimiter))


def _row(cells: Iterable[str], delimiter: str) -> bytes:
    return (delimiter.join(map(_cell, cells)) + "\n").encode()


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _TO_QUOTE.search(text) else text


def _object(record: Record) -> bytes:
    """As itself, or in escapes where UTF-8 cannot hold it."""
    try:
        return _encode(record).encode()
    except UnicodeEncodeError:
        return _encode_ascii(record).encode()
