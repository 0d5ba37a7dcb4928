"""The lines of a text file, each decoded by itself, so that one bad byte costs one row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_lines(path: Path, encoding: str, problems: list[Problem]) -> Iterator[str]:
    """Yield the lines of a file with their ends as written; only a newline ends one.

    Args:
        path: The file.
        encoding: Any that extends ASCII.
        problems: Gets one for every line that cannot be decoded, before that line is yielded
            with replacement characters in it.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if number == 1:
                if raw.startswith(_UTF16_MARKS):
                    problems.append(_utf16(path))
                    return
                raw = raw.removeprefix(UTF8_MARK)  # noqa: PLW2901 -- Excel writes one, it is no text
            try:
                yield raw.decode(encoding)
            except UnicodeDecodeError as error:
                problems.append(_undecodable(path, number, encoding, error))
                yield raw.decode(encoding, "replace")


def _undecodable(path: Path, line: int, encoding: str, error: UnicodeDecodeError) -> Problem:
    """``error.object`` is the line as bytes."""
    raw: bytes = error.object
    column = len(raw[: error.start].decode(encoding, "replace")) + 1
    what = (
        f"byte 0x{raw[error.start]:02x} ({error.start + 1} in its line) is not {encoding.upper()}"
    )
    fix = "save the file as UTF-8, or name its encoding: training_data.encoding, e.g. cp1252"
    return Problem(str(path), line, column, what, fix, "encoding")


def _utf16(path: Path) -> Problem:
    fix = "save it as UTF-8 (in Excel: CSV UTF-8)"
    return Problem(str(path), 1, 1, "the file is UTF-16, byte 0xff/0xfe at 1", fix, "encoding")
