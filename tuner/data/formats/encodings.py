"""What text some bytes are: decoded, or told from their looks when they are not what was said."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 2**16
"""Bytes that an encoding is guessed from; it takes a tenth of a second."""
_LIKELY = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256",
    "cp932", "gb18030", "big5", "cp949", "euc_jp",
)  # fmt: skip
"""What Windows, and with it Excel, writes in most of the world."""


_PUNCTUATION = bytes((*range(0x80, 0x9F), 0xA3, 0xA7, 0xAB, 0xB0, 0xBB)).decode("cp1252", "ignore")
"""Of cp1252: quotation marks, dashes, currencies."""


def told(start: bytes) -> str:
    """``utf-16`` or ``utf-32`` when a file begins like that, by its mark or by its NULs; or ''."""
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


def guessed(start: bytes) -> str:
    """What a file is in that begins like that, as far as a name is needed to read it; or ``utf-8``."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        lines = b"\n".join(each for each in start.split(b"\n") if not each.isascii())
        return ("" if told(start) else _guess(lines[:_SAMPLE], "utf-8")) or "utf-8"
    return "utf-8"


def is_of_text(encoding: str) -> bool:
    """Whether a file may be in it: there is one of that name, and it can be read in pieces."""
    text = '\n,;\t"{}'
    try:
        decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        read = [decoder.decode(bytes([byte])) for byte in text.encode(encoding)]
    except (LookupError, ValueError, TypeError):
        return False
    return "".join(read) == text


def extends_ascii(encoding: str) -> bool:
    """Whether ASCII is written as itself, so that lines can be told before they are decoded.

    Raises:
        LookupError: There is no encoding of that name, or it is none of text.
    """
    text = '\n,;\t"{}'
    return text.encode(encoding) == text.encode("ascii")


def transcode(
    pieces: Iterable[bytes], encoding: str, broken: list[str]
) -> tuple[Iterable[bytes], str]:
    """Bytes whose lines end in the byte of a newline, and their encoding.

    Args:
        pieces: The file.
        encoding: Of the file; when it does not extend ASCII, UTF-8 is made of it.
        broken: Gets a complaint when the file cannot be read on.
    """
    if extends_ascii(encoding):
        return pieces, encoding
    return _in_utf8(pieces, encoding, broken), "utf-8"


def _in_utf8(pieces: Iterable[bytes], encoding: str, broken: list[str]) -> Iterator[bytes]:
    """Half of a surrogate pair becomes bytes that are not UTF-8, and is so found later."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    try:
        for piece in pieces:
            yield decoder.decode(piece).encode("utf-8", "surrogatepass")
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        broken.append(f"is not {encoding.upper()} from here on: {getattr(error, 'reason', error)}")


def decode_lines(
    path: str, raw: bytes, encoding: str, line: int, offset: int
) -> tuple[str, dict[int, Problem]]:
    """The text of some lines, and what is wrong with those that cannot be decoded, by number.

    Args:
        path: For the problems.
        raw: Whole lines.
        encoding: One that extends ASCII.
        line: The number of the first.
        offset: Where ``raw`` begins in the file, in bytes.
    """
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
            fix = fix or _fix(raw, encoding)
            what, column = _undecodable(encoding, offset, error)
            problems[number] = Problem(path, number, column, what, fix, "encoding")
            text = each.decode(encoding, "replace")
        lines.append(text)
        offset += len(each) + 1
    return "\n".join(lines), problems


def _undecodable(encoding: str, offset: int, error: UnicodeDecodeError) -> tuple[str, int]:
    """What to say of a line, which begins at ``offset``, and the column of its first bad byte."""
    line: bytes = error.object
    at = f"byte 0x{line[error.start]:02x} at offset {offset + error.start:,} of the file"
    column = len(line[: error.start].decode(encoding, "replace")) + 1
    return f"{at} is not {encoding.upper()}", column


def _fix(raw: bytes, encoding: str) -> str:
    lines = [each for each in raw.split(b"\n") if not each.isascii()]
    if any(_decodes(each, encoding) for each in lines):
        return "type that character again, and save the file as UTF-8"
    guess = _guess(b"\n".join(lines)[:_SAMPLE], encoding)
    if guess:
        return f"it looks like {guess}: write encoding: {guess} (--encoding {guess}), or save the file as UTF-8"
    return "save the file as UTF-8, or name what it is in, e.g. encoding: cp1252"


def _guess(sample: bytes, encoding: str) -> str:
    """What a text may be in that is not in ``encoding``; '' when nothing comes near.

    A few accents fit cp1250 and cp1254 as well: cp1252 is more likely where it gives letters.
    """
    from charset_normalizer import from_bytes

    if _decodes(sample, "utf-8"):
        return "utf-8"
    best = from_bytes(sample, cp_isolation=list(_LIKELY)).best()
    if best is None or best.encoding == encoding:
        return ""
    if best.encoding in ("cp1250", "cp1254") and _is_western(_decodes(sample, "cp1252")):
        return "cp1252"
    return best.encoding


def _is_western(text: str) -> bool:
    return bool(text) and all(
        each.isascii() or each.isalpha() or each in _PUNCTUATION for each in text
    )


def _decodes(raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return ""
