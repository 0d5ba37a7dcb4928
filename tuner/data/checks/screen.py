"""A thousand texts looked at in a few calls, to find the few that need a second look."""

from __future__ import annotations

from functools import cache, cached_property
from itertools import compress, count
from operator import not_
from typing import TYPE_CHECKING

from tuner.examples import Column

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

_COMMON = b"abcdefghijklmnopqrstuvwxyz0123456789 ,.\t\n\r"
"""What most texts are made of, and no sign of anything; what is left without it is soon looked through."""
_CONTROLS = (*range(1, 9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)
_DIGITS = bytes.maketrans(b"123456789-", b"0" * 10)
"""Every digit, and the hyphen, made a 0."""
_BLANKS = b"\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f"
"""What ``str.split`` parts ASCII at, but for the space."""
_SPACES = bytes.maketrans(_BLANKS, b" " * len(_BLANKS))
_FOREIGN_BLANKS = "\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What else it parts texts at."""
_SEEN = range(ord("!"), 0x7F)
"""Bytes of UTF-8 that are no part of a blank."""
_EACH = 4


class Screen:
    """One column of a batch, as texts and as one row of bytes in which C searches."""

    def __init__(self, texts: Sequence[str], *, many: bool = False) -> None:
        """Take a column; ``many`` more are to come, which makes importing numpy worth its time."""
        self.texts = texts
        self._many = many

    @cached_property
    def plain(self) -> bytes:
        """All texts in UTF-8, a NUL between."""
        if isinstance(self.texts, Column):
            return b"\0".join(self.texts.encoded)
        return "\0".join(self.texts).encode("utf-8", "surrogatepass")

    @cached_property
    def encoded(self) -> list[bytes]:
        """Each in UTF-8."""
        if isinstance(self.texts, Column):
            return self.texts.encoded
        if self.has_nul:
            return [text.encode("utf-8", "surrogatepass") for text in self.texts]
        return self.plain.split(b"\0") if self.texts else []

    @cached_property
    def rest(self) -> bytes:
        """``plain`` without what most texts are made of."""
        return self.plain.translate(None, _COMMON)

    @cached_property
    def has_nul(self) -> bool:
        """Whether a text holds what parts them in ``plain``."""
        if isinstance(self.texts, Column):
            return self.texts.has_nul
        return self.plain.count(0) >= max(1, len(self.texts))

    @cached_property
    def foreign(self) -> Sequence[int]:
        """The rows that are not all ASCII."""
        if isinstance(self.texts, Column):
            texts = self.encoded
            return [row for row in self.texts.foreign if not texts[row].isascii()]
        if self.plain.isascii():
            return ()
        return list(compress(count(), map(not_, map(str.isascii, self.texts))))

    @cached_property
    def foreign_texts(self) -> Sequence[str]:
        """Their texts."""
        return list(map(self.texts.__getitem__, self.foreign))

    @cached_property
    def foreign_text(self) -> str:
        """Those, one after the other."""
        return "\n".join(self.foreign_texts)

    def having(self, needle: str) -> Sequence[int]:
        """The rows that hold ``needle``, which is ASCII; that there is none is told quickly."""
        wanted = needle.encode()
        if wanted.translate(None, _COMMON) not in self.rest or wanted not in self.plain:
            return ()
        return [row for row, text in enumerate(self.encoded) if wanted in text]

    def with_controls(self) -> Sequence[int]:
        """The rows that may hold a control character of ASCII, other than tab and line ends."""
        if self.has_nul or any(map(self.rest.__contains__, _CONTROLS)):
            return range(len(self.texts))
        return ()

    def with_cards(self) -> Sequence[int]:
        """The rows that may hold a card number.

        A quarter of the characters is enough to tell: of 13 digits in a row every fourth is a
        digit three times over; of digits in groups one of those may be a hyphen or a blank.
        """
        sample = self.plain[::_EACH].translate(_DIGITS)
        places: set[int] = set()
        for needle in (b"000", b"00 0"):
            at = sample.find(needle)
            while at >= 0:
                places |= {at * _EACH, (at + len(needle) - 1) * _EACH}
                at = sample.find(needle, at + len(needle))
        return self._rows_at(sorted(places))

    def blank(self) -> Sequence[int]:
        """The rows with nothing but blanks, or with nothing at all."""
        texts = self.encoded
        rows = set(compress(count(), map(bytes.isspace, texts)))
        if not all(texts):
            rows.update(compress(count(), map(not_, texts)))
        ends = ((row, texts[row][-1]) for row in self.foreign)
        rows.update(row for row, last in ends if last not in _SEEN and self.texts[row].isspace())
        return sorted(rows)

    def longer(self, most: int) -> Sequence[int]:
        """The rows of more than so many characters."""
        if max(map(len, self.encoded), default=0) <= most:
            return ()
        texts = enumerate(self.encoded)
        return [row for row, text in texts if len(text) > most and len(self.texts[row]) > most]

    def hashes(self) -> list[int]:
        """A hash of each text."""
        return list(map(hash, self.encoded))

    def keys(self) -> list[int]:
        """A hash of each text that is the same when only case and blanks differ."""
        if self.has_nul:
            return [hash(fold(text)) for text in self.texts]
        pieces = _tidy(self.plain.lower(), many=self._many).split(b"\0")
        if self.foreign:
            whole = _foreign_blank().sub(" ", "\0".join(self.foreign_texts).casefold())
            folded = _tidy(whole.encode("utf-8", "surrogatepass"), many=self._many)
            for row, piece in zip(self.foreign, folded.split(b"\0"), strict=True):
                pieces[row] = piece
        return list(map(hash, pieces))

    def _rows_at(self, places: Sequence[int]) -> list[int]:
        """The rows that some bytes of ``plain``, in order, belong to."""
        rows, row, last = [], 0, 0
        for place in places:
            row += self.plain.count(0, last, place)
            last = place
            rows.append(row)
        return [] if len(self.texts) <= row else list(dict.fromkeys(rows))


def fold(text: str) -> bytes:
    """A text in lower case, with one space wherever there are blanks, and none at its ends."""
    return " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")


def _tidy(data: bytes, *, many: bool) -> bytes:
    """What ``fold`` makes of blanks, for texts of ASCII with a NUL between them."""
    if any(map(data.__contains__, _BLANKS)):
        data = data.translate(_SPACES)
    if many and not _has_two_blanks(data):
        return data
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data.strip(b" ").replace(b" \0", b"\0").replace(b"\0 ", b"\0")


def _has_two_blanks(data: bytes) -> bool:
    """Whether two spaces, or a space and a NUL, stand side by side, or a space at an end.

    Looking for two spaces takes bytes ten times longer, as every word ends with one.
    """
    import numpy as np

    blank = np.frombuffer(data, np.uint8) <= ord(" ")
    return bool(blank[:1].any() or blank[-1:].any() or (blank[1:] & blank[:-1]).any())


@cache
def _foreign_blank() -> re.Pattern[str]:
    import re

    return re.compile(f"[{_FOREIGN_BLANKS}]")
