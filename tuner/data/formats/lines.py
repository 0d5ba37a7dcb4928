"""The lines of a text file, of which one bad byte costs one."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from tuner.data.formats.blocks import read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.errors import Problem


def read_lines(path: Path, encoding: str, problems: list[Problem]) -> Iterator[str]:
    """Yield the lines of a file with their ends as written; only a newline ends one.

    Args:
        path: The file, which may be gzip'ed.
        encoding: Of its text.
        problems: Gets one for every line that cannot be read, before that line is yielded: with
            replacement characters in it, or empty if it is larger than ``blocks.MAX_ROW``.

    Raises:
        OSError: The file cannot be read.
    """
    for block in read_blocks(path, encoding):
        for number, line in enumerate(StringIO(block.text, newline="\n"), block.line):
            if number in block.problems:
                problems.append(block.problems.pop(number))
            yield line
        problems.extend(block.problems.values())
