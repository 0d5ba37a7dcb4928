"""The text of a JSON file, of which a part is in memory: where a row may end is not known before."""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from tuner.data.formats.blocks import BLOCK, UTF8_MARK
from tuner.data.formats.encodings import told, transcode
from tuner.data.formats.json_places import line_and_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_GZIP = b"\x1f\x8b"
_SPACE = re.compile(r"[ \t\r\n]*")


class Text:
    """A window on a file's text, with a cursor whose line and column are known.

    Attributes:
        part: What is in memory; bytes that are not in the encoding are halves of surrogate pairs.
        at: The cursor in it.
        line: Of the cursor, 1-based.
        column: Of the cursor, 1-based.
        indent: What stands before the cursor in its line, when that is but space; or None.
        read: Bytes that were read of the file.
        encoding: What they are in, by the name it goes by here.
    """

    def __init__(self, pieces: Iterator[bytes], encoding: str) -> None:
        """Begin at the first character; the encoding extends ASCII."""
        self.part = ""
        self.at = 0
        self.line = self.column = 1
        self.indent: str | None = ""
        self.read = 0
        self._before = self._counted = self._bytes = 0
        self.encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._pieces = pieces

    def more(self) -> bool:
        """Read on, as much as is there already; whether there was anything."""
        held, size = [], 0
        for piece in self._pieces:
            held.append(self._decoder.decode(piece))
            size += len(piece)
            if size >= len(self.part) - self.at:
                break
        self.read += size
        if not held:
            return False
        if self.at > BLOCK:
            self.forget()
        self.part = "".join([self.part, *held])
        return True

    def move(self, to: int) -> None:
        """Put the cursor at ``part[to]``, which is not before it."""
        self.line, self.column = line_and_column(
            self.part[self.at : to], to - self.at, self.line, self.column
        )
        self.at = to

    def jump(self, to: int, line: int, column: int) -> None:
        """Put the cursor at ``part[to]``, whose place is known."""
        if to > self.at:
            before = self.part[max(0, to - column + 1) : to]
            is_space = len(before) == column - 1 and not before.strip(" \t\r")
            self.indent = before if is_space else None
        self.at, self.line, self.column = to, line, column

    def skip_space(self) -> str:
        """Move to the next character that is not space, and give it; empty at the end."""
        while True:
            match = _SPACE.match(self.part, self.at)
            end = match.end() if match else self.at
            space = self.part[self.at : end]
            if "\n" in space or (self.line, self.column) == (1, 1):
                self.indent = space[space.rfind("\n") + 1 :]
            elif space or self.column > 1:
                self.indent = None
            self.move(end)
            if end < len(self.part):
                return self.part[end]
            if not self.more():
                return ""

    def seek(self, *marks: str) -> bool:
        """Move to the first of some texts; to the end, and False, when there is none."""
        while True:
            end = len(self.part)
            for mark in marks:  # the second is looked for up to the first: rows are many
                at = self.part.find(mark, self.at, min(end + len(mark), len(self.part)))
                end = at if at >= 0 else end
            if end < len(self.part):
                self.move(end)
                return True
            self.move(max(self.at, len(self.part) - max(map(len, marks), default=0)))
            if not self.more():
                self.move(len(self.part))
                return False

    def byte_offset(self, at: int) -> int:
        """Where in the file the character ``part[at]`` is."""
        begin, size = (self._counted, self._bytes) if at >= self._counted else (0, self._before)
        self._counted, self._bytes = at, size + self._size(self.part[begin:at])
        return self._bytes

    def forget(self) -> None:
        """Let go of what is before the cursor."""
        self._before = self.byte_offset(self.at)
        self.part = self.part[self.at :]
        self.at = self._counted = 0

    def _size(self, text: str) -> int:
        return len(text) if text.isascii() else len(text.encode(self.encoding, "surrogateescape"))


class Undecodable(Exception):
    """The file is in an encoding, which is the exception's text, that was not asked for."""


@contextmanager
def opened(path: Path, encoding: str, broken: list[str]) -> Iterator[Text]:
    """The text of a file, gzip'ed or not; ``broken`` gets why it ends too early.

    Raises:
        OSError: The file cannot be read.
        Undecodable: It is UTF-16 or 32.
    """
    with path.open("rb") as raw:
        packed = raw.peek(2)[:2] == _GZIP  # type: ignore[attr-defined, unused-ignore]
        file: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        pieces = _pieces(file, broken)
        first = next(pieces, b"")
        if encoding == "utf-8" and told(first):
            raise Undecodable(told(first))
        whole, encoding = transcode(_after_mark(first, pieces), encoding, broken)
        yield Text(iter(whole), encoding)


def _after_mark(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first.removeprefix(UTF8_MARK)
    yield from rest


def _pieces(file: IO[bytes], broken: list[str]) -> Iterator[bytes]:
    try:
        while piece := file.read(BLOCK):
            yield piece
    except (EOFError, zlib.error, gzip.BadGzipFile):
        broken.append("the gzip data are damaged or cut off here")
