"""Decode text files in blocks of whole lines, and guess the encoding of undecodable bytes."""

from __future__ import annotations

import codecs
import gzip
import zlib
from contextlib import contextmanager
from io import StringIO
from itertools import chain
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, NamedTuple

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

MAX_ROW_BYTES = 16 * 2**20
"""Maximum size of a row or line; more than a hundred times what any model accepts."""
BLOCK_BYTES = 2**20
"""Bytes of a file that are read at once."""

_UTF8_MARK = b"\xef\xbb\xbf"
_GZIP_MAGIC = b"\x1f\x8b"
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SYNTAX = '\n,;\t"{}'
_SAMPLE_BYTES = 2**16
"""Bytes from which an encoding is guessed, which takes a tenth of a second."""
_LIKELY_ENCODINGS = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256",
    "cp932", "gb18030", "big5", "cp949", "euc_jp",
)  # fmt: skip
"""The default encoding of Windows and Excel in most Western countries."""
_PUNCTUATION = bytes((*range(0x80, 0x9F), 0xA3, 0xA7, 0xAB, 0xB0, 0xBB)).decode("cp1252", "ignore")
"""Quotation marks, dashes and currency signs of cp1252."""


class OtherEncodingError(Exception):
    """The file starts like UTF-16 or UTF-32, whose name is the message, but is read as UTF-8."""


class Block(NamedTuple):
    """Some whole lines of a file.

    Attributes:
        text: With replacement characters for what cannot be decoded; a newline ends a line.
        line: The number of the first line, 1-based.
        problems: What is wrong with lines that cannot be read, by line number.
    """

    text: str = ""
    line: int = 1
    problems: Mapping[int, Problem] = MappingProxyType({})


def read_blocks(path: Path, encoding: str = "utf-8") -> Iterator[Block]:
    """Yield a file's text in order, with at most 20 MiB of it in memory.

    The file may be gzipped, whatever its name; a byte-order mark is dropped.

    Raises:
        OSError: The file cannot be read.
    """
    broken: list[str] = []
    try:
        with open_pieces(path, encoding, broken) as (pieces, ascii_encoding):
            yield from _numbered_blocks(str(path), pieces, ascii_encoding, broken)
    except OtherEncodingError as error:
        yield Block(problems={1: other_encoding_problem(path, error)})


def read_lines(path: Path, encoding: str) -> Iterator[str]:
    """Yield the lines of a file with their ends; only a newline ends one.

    A line that cannot be decoded has replacement characters; one larger than ``MAX_ROW_BYTES`` is
    empty.

    Raises:
        OSError: The file cannot be read.
    """
    for block in read_blocks(path, encoding):
        yield from StringIO(block.text, newline="\n")


@contextmanager
def open_pieces(
    path: Path, encoding: str, broken: list[str]
) -> Iterator[tuple[Iterator[bytes], str]]:
    """Yield a file's bytes in pieces, and their encoding.

    What is gzipped is decompressed; an encoding that does not extend ASCII is converted to UTF-8.
    ``broken`` receives the reason if the file ends too early.

    Raises:
        OSError: The file cannot be read.
        OtherEncodingError: It is UTF-16 or UTF-32, and the encoding is UTF-8.
    """
    encoding = codecs.lookup(encoding).name
    with path.open("rb") as raw:
        is_gzip = raw.peek(2)[:2] == _GZIP_MAGIC  # type: ignore[attr-defined, unused-ignore]
        file: IO[bytes] = gzip.GzipFile(fileobj=raw) if is_gzip else raw  # type: ignore[assignment]
        pieces = _read_pieces(file, broken)
        first = next(pieces, b"")
        other = detect_bom(first) if encoding == "utf-8" else ""
        if other:
            raise OtherEncodingError(other)
        whole = chain([first], pieces)
        if _SYNTAX.encode(encoding) == _SYNTAX.encode("ascii"):  # lines can be split undecoded
            yield whole, encoding
        else:
            yield _as_utf8(whole, encoding, broken), "utf-8"


def other_encoding_problem(path: Path, error: OtherEncodingError) -> Problem:
    """Return the problem of a file that is not in UTF-8."""
    what = f"the file is {str(error).upper()}, not UTF-8"
    fix = f"write encoding: {error}, or save it as UTF-8 (in Excel: CSV UTF-8)"
    return Problem(str(path), 1, 1, what, fix, "encoding")


def without_mark(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces without a UTF-8 byte-order mark before them."""
    rest = iter(pieces)
    yield next(rest, b"").removeprefix(_UTF8_MARK)
    yield from rest


def too_large(path: str, line: int, column: int = 1) -> Problem:
    """Return the problem of a row or line that is too large."""
    what = f"a row of more than {MAX_ROW_BYTES // 2**20} MiB"
    fix = (
        "delete it: no model takes a text that long; perhaps a closing quote or line end is missing"
    )
    return Problem(path, line, column, what, fix, "row-too-large")


def line_and_column(
    text: str, at: int, line: int, column: int = 1, start: int = 0
) -> tuple[int, int]:
    """Return the place of ``text[at]``, where ``text[start]`` is at a line and column."""
    newlines = text.count("\n", start, at)
    if newlines:
        return line + newlines, at - text.rfind("\n", start, at)
    return line, column + at - start


def detect_bom(start: bytes) -> str:
    """Return ``utf-16`` or ``utf-32`` if a file begins so, by its mark or its NULs; otherwise ''."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    head = start[:64]
    count = len(head) // 2
    if count >= 4 and head[1::2].count(0) == count and not head[::2].count(0):  # noqa: PLR2004 -- eight bytes cannot be chance
        return "utf-16-le"
    if count >= 4 and head[::2].count(0) >= count and not head[1::2].count(0):  # noqa: PLR2004 -- as above
        return "utf-16-be"
    return ""


def guess_encoding(start: bytes) -> str:
    """Return the encoding to name for a file that begins with ``start``, or ``utf-8``."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        lines = b"\n".join(each for each in start.split(b"\n") if not each.isascii())
        return ("" if detect_bom(start) else _guess(lines[:_SAMPLE_BYTES], "utf-8")) or "utf-8"
    return "utf-8"


def is_text_encoding(encoding: str) -> bool:
    """Whether an encoding of that name exists and can be decoded in pieces."""
    try:
        decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        read = [decoder.decode(bytes([byte])) for byte in _SYNTAX.encode(encoding)]
    except (LookupError, ValueError, TypeError):
        return False
    return "".join(read) == _SYNTAX


def _as_utf8(pieces: Iterable[bytes], encoding: str, broken: list[str]) -> Iterator[bytes]:
    """Convert to UTF-8; half of a surrogate pair becomes invalid UTF-8, which is reported later."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    try:
        for piece in pieces:
            yield decoder.decode(piece).encode("utf-8", "surrogatepass")
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        broken.append(f"is not {encoding.upper()} from here on: {getattr(error, 'reason', error)}")


def _numbered_blocks(
    path: str, pieces: Iterable[bytes], encoding: str, broken: list[str]
) -> Iterator[Block]:
    line, offset = 1, 0
    for raw, size in _whole_lines(pieces):
        mark = len(_UTF8_MARK) if not offset and raw.startswith(_UTF8_MARK) else 0
        text, problems = "\n", {line: too_large(path, line)}
        if raw:
            text, problems = _decode_lines(path, raw[mark:], encoding, line, offset + mark)
        offset += size
        if text.endswith("\n") or not broken:
            yield Block(text, line, problems)
        line += text.count("\n")
    if broken:  # the last line is cut off, and no row
        fix = "download or compress the file again; only the rows before this line were read"
        yield Block("\n", line, {line: Problem(path, line, 0, broken[0], fix, "unreadable")})


def _read_pieces(file: IO[bytes], broken: list[str]) -> Iterator[bytes]:
    """Yield a file's bytes, ``BLOCK_BYTES`` or more at once."""
    read = file.read1  # type: ignore[attr-defined]
    held: list[bytes] = []
    size = 0
    try:
        while piece := read(BLOCK_BYTES):
            held.append(piece)
            size += len(piece)
            if size >= BLOCK_BYTES:
                yield b"".join(held)
                held, size = [], 0
    except (EOFError, zlib.error, gzip.BadGzipFile):
        broken.append("the gzip data are damaged or cut off here")
    yield b"".join(held)


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield whole lines, about ``BLOCK_BYTES`` of them, with their size in the file.

    A line larger than ``MAX_ROW_BYTES`` is never kept: empty bytes with its size stand for it.
    """
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        end = piece.find(b"\n") + 1
        size += end or len(piece)
        if size > MAX_ROW_BYTES:
            held = []
            if not end:
                continue
            yield b"", size
            piece = piece[end:]  # noqa: PLW2901 -- the rest of it
            size = len(piece)
        cut = piece.rfind(b"\n") + 1
        if cut:
            raw = b"".join([*held, piece[:cut]])
            yield raw, len(raw)
            held, size = [], len(piece) - cut
        held.append(piece[cut:])
    if size > MAX_ROW_BYTES or any(held):
        yield b"".join(held), size


def _decode_lines(
    path: str, raw: bytes, encoding: str, line: int, offset: int
) -> tuple[str, dict[int, Problem]]:
    """Return the text of some lines, and the problems of those that do not decode, by line."""
    try:
        return raw.decode(encoding), {}
    except UnicodeDecodeError:
        pass
    lines: list[str] = []
    problems: dict[int, Problem] = {}
    fix = ""
    for number, each in enumerate(raw.split(b"\n"), line):
        try:
            text = each.decode(encoding)
        except UnicodeDecodeError as error:
            fix = fix or _encoding_fix(raw, encoding)
            at = f"byte 0x{each[error.start]:02x} at offset {offset + error.start:,} of the file"
            column = len(each[: error.start].decode(encoding, "replace")) + 1
            what = f"{at} is not {encoding.upper()}"
            problems[number] = Problem(path, number, column, what, fix, "encoding")
            text = each.decode(encoding, "replace")
        lines.append(text)
        offset += len(each) + 1
    return "\n".join(lines), problems


def _encoding_fix(raw: bytes, encoding: str) -> str:
    lines = [each for each in raw.split(b"\n") if not each.isascii()]
    if any(_decoded(each, encoding) for each in lines):
        return "type that character again, and save the file as UTF-8"
    guess = _guess(b"\n".join(lines)[:_SAMPLE_BYTES], encoding)
    if guess:
        return f"it looks like {guess}: write encoding: {guess} (--encoding {guess}), or save the file as UTF-8"
    return "save the file as UTF-8, or name what it is in, e.g. encoding: cp1252"


def _guess(sample: bytes, encoding: str) -> str:
    """Guess an encoding other than ``encoding``; '' if nothing fits.

    A few accents fit cp1250 and cp1254 as well: cp1252 is more likely where it gives letters.
    """
    from charset_normalizer import from_bytes

    if _decoded(sample, "utf-8"):
        return "utf-8"
    best = from_bytes(sample, cp_isolation=list(_LIKELY_ENCODINGS)).best()
    if best is None or best.encoding == encoding:
        return ""
    if best.encoding in ("cp1250", "cp1254") and _is_western(_decoded(sample, "cp1252")):
        return "cp1252"
    return best.encoding


def _is_western(text: str) -> bool:
    return bool(text) and all(
        each.isascii() or each.isalpha() or each in _PUNCTUATION for each in text
    )


def _decoded(raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return ""
