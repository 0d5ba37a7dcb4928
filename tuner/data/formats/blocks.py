"""The text of a file in blocks of whole lines, so that no file is too large to be read."""

from __future__ import annotations

import codecs
import gzip
import zlib
from functools import cached_property
from itertools import chain
from typing import IO, TYPE_CHECKING

from tuner.data.formats.encodings import decode_lines, told, transcode
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_ROW = 16 * 2**20
"""Bytes of the largest row, or line, that is read; no model takes a hundredth of it."""
BLOCK = 2**20
"""Bytes that are read at a time."""
UTF8_MARK = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"


class Block:
    """Some lines of a file, which are decoded when their text is asked for.

    Attributes:
        raw: Their bytes as written; a newline ends a line.
        line: The number of the first, 1-based.
        encoding: Of the bytes; it extends ASCII.
    """

    def __init__(
        self, path: str, raw: bytes, line: int, offset: int = 0, encoding: str = "utf-8"
    ) -> None:
        """Take lines that begin at a byte of the file."""
        self.raw, self.line, self.encoding = raw, line, encoding
        self._path, self._offset = path, offset
        self._known: dict[int, Problem] = {}

    @classmethod
    def unread(cls, problem: Problem, raw: bytes = b"") -> Block:
        """Something that stands for a line that cannot be read, whatever its bytes are."""
        block = cls(problem.path, raw, problem.line)
        block._known = {problem.line: problem}
        return block

    @property
    def text(self) -> str:
        """Their text, with replacement characters for what cannot be decoded."""
        return self._decoded[0]

    @property
    def problems(self) -> dict[int, Problem]:
        """What is wrong with lines that cannot be read, by their numbers."""
        return self._decoded[1]

    @property
    def is_unread(self) -> bool:
        """Whether a line of it cannot be read, whatever its bytes are."""
        return bool(self._known)

    def behind(self, start: int, passed: int) -> Block:
        """The lines from a byte on that has so many line ends before it."""
        raw, line, offset = self.raw[start:], self.line + passed, self._offset + start
        block = Block(self._path, raw, line, offset, self.encoding)
        block._known = self._known
        return block

    def before(self, more: Block) -> Block:
        """The same lines and those that come next."""
        block = self.behind(0, 0)
        block.raw += more.raw
        block._known = {**self._known, **more._known}  # noqa: SLF001 -- of its own kind
        return block

    @cached_property
    def line_ends(self) -> int:
        """How many there are; who has come across them may say so before it is asked."""
        return self.raw.count(b"\n")

    @cached_property
    def _decoded(self) -> tuple[str, dict[int, Problem]]:
        text, problems = decode_lines(self._path, self.raw, self.encoding, self.line, self._offset)
        return text, {**problems, **self._known}


def read_blocks(path: Path, encoding: str = "utf-8") -> Iterator[Block]:
    """Yield a file's text in order; at most some 20 MiB of it are in memory at a time.

    Args:
        path: The file; it may be gzip'ed, whatever its name.
        encoding: Of its text; a byte-order mark is no part of that.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        packed = file.peek(2)[:2] == _GZIP  # type: ignore[attr-defined, unused-ignore]
        source: IO[bytes] = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]
        yield from _blocks(str(path), source, codecs.lookup(encoding).name)


def _blocks(path: str, file: IO[bytes], encoding: str) -> Iterator[Block]:
    broken: list[str] = []
    pieces = _pieces(file, broken)
    first = next(pieces, b"")
    other = told(first) if encoding == "utf-8" else ""
    if other:
        fix = f"write encoding: {other}, or save it as UTF-8 (in Excel: CSV UTF-8)"
        what = f"the file is {other.upper()}, not UTF-8"
        yield Block.unread(Problem(path, 1, 1, what, fix, "encoding"))
        return
    yield from _numbered(path, chain([first], pieces), encoding, broken)


def _numbered(
    path: str, pieces: Iterable[bytes], encoding: str, broken: list[str]
) -> Iterator[Block]:
    """Blocks with their lines counted; ``broken`` says why there are no more pieces."""
    stream, encoding = transcode(pieces, encoding, broken)
    line, offset = 1, 0
    for raw, size in _whole_lines(stream):
        mark = len(UTF8_MARK) if not offset and raw.startswith(UTF8_MARK) else 0
        if not raw:
            block = Block.unread(_too_large(path, line), b"\n")
        else:
            block = Block(path, raw[mark:], line, offset + mark, encoding)
        offset += size
        if block.raw.endswith(b"\n") or not broken:
            yield block
        line += block.line_ends
    if broken:  # the last line is cut off, and no row
        yield Block.unread(_cut_off(path, line, broken[0]), b"\n")


def _pieces(file: IO[bytes], broken: list[str]) -> Iterator[bytes]:
    """What is in a file; ``broken`` gets a complaint when its gzip data end too early."""
    read = file.read1  # type: ignore[attr-defined]
    held: list[bytes] = []
    size = 0
    try:
        while piece := read(BLOCK):
            held.append(piece)
            size += len(piece)
            if size >= BLOCK:
                yield b"".join(held)
                held, size = [], 0
    except (EOFError, zlib.error, gzip.BadGzipFile):
        broken.append("the gzip data are damaged or cut off here")
    yield b"".join(held)


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Whole lines, ``BLOCK`` bytes of them or so, and their size in the file.

    Nothing with a size stands for a line that is larger than ``MAX_ROW``.
    """
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        end = piece.find(b"\n") + 1
        size += end or len(piece)
        if size > MAX_ROW:
            held = []
            if not end:
                continue
            yield b"", size
            piece = piece[end:]  # noqa: PLW2901 -- what is left of it
            size = len(piece)
        cut = piece.rfind(b"\n") + 1
        if cut:
            raw = b"".join([*held, piece[:cut]])
            yield raw, len(raw)
            held, size = [], len(piece) - cut
        held.append(piece[cut:])
    if size > MAX_ROW or any(held):
        yield b"".join(held), size


def _too_large(path: str, line: int) -> Problem:
    what = f"a line of more than {MAX_ROW // 2**20} MiB"
    fix = "delete it: no model takes a text that long; perhaps a line end is missing"
    return Problem(path, line, 1, what, fix, "row-too-large")


def _cut_off(path: str, line: int, what: str) -> Problem:
    fix = "fetch the file again, or pack it again: only what is before this line was read"
    return Problem(path, line, 0, what, fix, "unreadable")
