"""Read examples from JSON Lines, one object a line, to the letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.data.formats.blocks import read_blocks
from tuner.data.formats.json_rows import SPACED_KEY, Rows, scan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.data import Batch, Source


def read(path: Path, source: Source) -> Iterator[Batch]:
    """Yield the objects of a JSON Lines file in file order, a batch in memory at a time.

    Texts stay as written. Blank lines are skipped; keys that hold no text of ours are not looked
    at, but no key may be there twice.

    Args:
        path: One object a line.
        source: Its columns are keys; both must hold texts.

    Raises:
        OSError: The file cannot be read.
    """
    rows = Rows(path, source)
    yield rows.take()  # a file with nothing in it has a name nevertheless
    for block in read_blocks(path, source.encoding):
        lines = block.text.split("\n")
        for line in block.problems:
            lines[line - block.line] = ""
        rows.problems.extend(block.problems.values())
        has_spaced_key = SPACED_KEY.search(block.text) is not None
        for line, text in enumerate(lines, block.line):
            if has_spaced_key or not _is_added(rows, text, line):
                rows.add(text, line)
        yield rows.take()


def _is_added(rows: Rows, text: str, line: int) -> bool:
    """Take a line of the usual kind, of which there may be a million; others take a second look.

    A key that is there twice shows in the count of colons after quotes, unless there is a space
    before one.
    """
    try:
        value, end = scan(text, 0)
        read = rows.quick(value)
    except (StopIteration, ValueError, LookupError, TypeError, RecursionError):
        return False
    if read is None or text.count('":') != read[2] or (end != len(text) and text[end:] != "\r"):
        return False
    rows.text_inputs.append(read[0])
    rows.outputs.append(read[1])
    rows.lines.append(line)
    rows.raw.append(text)
    return True
