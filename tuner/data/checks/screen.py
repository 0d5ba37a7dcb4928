"""A thousand texts looked at in a few calls, to find the few that need a second look."""

from __future__ import annotations

from functools import cache, cached_property
from itertools import compress, count
from operator import contains, not_
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from typing import TypeAlias

    from tuner.spans import Places, Words

    Hashes: TypeAlias = Sequence[int] | Words

_COMMON = b"abcdefghijklmnopqrstuvwxyz0123456789 ,.\t\n\r"
"""What most texts are made of, and no sign of anything; what is left without it is soon looked through."""
CONTROLS = (*range(1, 9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)
_DIGITS = bytes.maketrans(b"123456789-", b"0" * 10)
"""Every digit, and the hyphen, made a 0."""
BLANKS = b"\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f"
"""What ``str.split`` parts ASCII at, but for the space."""
_SPACES = bytes.maketrans(BLANKS, b" " * len(BLANKS))
_ASCII = bytes(range(0x80))
_FEW_LETTERS = 4
"""As many are replaced one by one more quickly than all are looked at."""
_FOREIGN_BLANKS = "\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""What else it parts texts at."""
SEEN = range(ord("!"), 0x7F)
"""Bytes of UTF-8 that are no part of a blank."""
EVERY = 4
"""Which characters are looked at for card numbers."""


class Screen:
    """One column of a batch, as texts and as one row of bytes in which C searches.

    Attributes:
        is_wide: Whether its hashes are those of wide screens, and numpy makes them.
    """

    is_wide = False

    def __init__(self, texts: Sequence[str]) -> None:
        """Take a column."""
        self.texts = texts

    @cached_property
    def plain(self) -> bytes:
        """All texts in UTF-8, a NUL between."""
        return encoded("\0".join(self.texts))

    @cached_property
    def encoded(self) -> list[bytes]:
        """Each in UTF-8."""
        if self.has_nul:
            return list(map(encoded, self.texts))
        return self.plain.split(b"\0") if self.texts else []

    @cached_property
    def size(self) -> int:
        """Bytes of all texts, and one between each and the next."""
        return len(self.plain)

    @cached_property
    def rest(self) -> bytes:
        """``plain`` without what most texts are made of."""
        return self.plain.translate(None, _COMMON)

    @cached_property
    def has_nul(self) -> bool:
        """Whether a text holds what parts them in ``plain``."""
        return self.plain.count(0) >= max(1, len(self.texts))

    @cached_property
    def foreign(self) -> Sequence[int]:
        """The rows that are not all ASCII."""
        if self.plain.isascii():
            return ()
        return list(compress(count(), map(not_, map(str.isascii, self.texts))))

    @cached_property
    def foreign_plain(self) -> bytes:
        """Their texts, one after the other, in UTF-8."""
        texts = map(self.texts.__getitem__, self.foreign)
        return encoded("\n".join(texts))

    @cached_property
    def foreign_text(self) -> str:
        """The same."""
        return decoded(self.foreign_plain)

    def having(self, needle: str) -> Sequence[int]:
        """The rows that hold ``needle``, which is ASCII; that there is none is told quickly."""
        wanted = needle.encode()
        if not self.may_have(wanted) or wanted not in self.plain:
            return ()
        return [row for row, text in enumerate(self.encoded) if wanted in text]

    def may_have(self, needle: bytes) -> bool:
        """Whether ``plain`` may hold some bytes."""
        return needle.translate(None, _COMMON) in self.rest

    def with_controls(self) -> Sequence[int]:
        """The rows that may hold a control character of ASCII, other than tab and line ends."""
        if self.has_nul or any(map(self.rest.__contains__, CONTROLS)):
            return range(len(self.texts))
        return ()

    def with_cards(self) -> Sequence[int]:
        """The rows that may hold a card number."""
        return self.rows_at(self.card_places)

    @cached_property
    def card_places(self) -> Sequence[int] | Places:
        """Some bytes of ``plain`` that may be part of a card number, in order.

        A quarter of the characters is enough to tell: of 13 digits in a row every fourth is a
        digit three times over; of digits in groups one of those may be a hyphen or a blank.
        """
        sample = self.plain[::EVERY].translate(_DIGITS)
        places: set[int] = set()
        for needle in (b"000", b"00 0"):
            at = sample.find(needle)
            while at >= 0:
                places |= {at * EVERY, (at + len(needle) - 1) * EVERY}
                at = sample.find(needle, at + len(needle))
        return sorted(places)

    def blank(self) -> Sequence[int]:
        """The rows with nothing but blanks, or with nothing at all."""
        texts = self.encoded
        rows = set(compress(count(), map(bytes.isspace, texts)))
        if not all(texts):
            rows.update(compress(count(), map(not_, texts)))
        ends = ((row, texts[row][-1]) for row in self.foreign)
        rows.update(row for row, last in ends if last not in SEEN and self.texts[row].isspace())
        return sorted(rows)

    def longer(self, most: int) -> Sequence[int]:
        """The rows of more than so many characters."""
        if max(map(len, self.encoded), default=0) <= most:
            return ()
        texts = enumerate(self.encoded)
        return [row for row, text in texts if len(text) > most and len(self.texts[row]) > most]

    def hashes(self) -> Hashes:
        """A hash of each text."""
        return list(map(hash, self.encoded))

    def keys(self) -> Hashes:
        """A hash of each text that is the same when only case and blanks differ."""
        if self.has_nul:
            return [hash(fold(text)) for text in self.texts]
        pieces = _tidy(self.plain.lower()).split(b"\0")
        if self.foreign:
            texts = "\0".join(map(self.texts.__getitem__, self.foreign))
            again = folded(encoded(texts))
            for row, piece in zip(self.foreign, again, strict=True):
                pieces[row] = piece
        return list(map(hash, pieces))

    def holding(self, others: Screen) -> Sequence[int]:
        """The rows that hold the text of another column in the same row."""
        return list(compress(count(), map(contains, self.encoded, others.encoded)))

    def rows_at(self, places: Sequence[int] | Places) -> Sequence[int]:
        """The rows that some bytes of ``plain``, in order, belong to."""
        if self.has_nul:
            return range(len(self.texts)) if len(places) else ()
        rows, row, last = [], 0, 0
        for place in places:
            row += self.plain.count(0, last, place)
            last = place
            rows.append(row)
        return list(dict.fromkeys(rows))


def fold(text: str) -> bytes:
    """A text in lower case, with one space wherever there are blanks, and none at its ends."""
    return encoded(" ".join(text.casefold().split()))


def folded(texts: bytes) -> list[bytes]:
    """``fold`` of each of some texts in UTF-8 that have a NUL between."""
    letters = set(decoded(texts.translate(None, _ASCII)))
    changed = {each: " " if each.isspace() else each.casefold() for each in letters}
    changed = {each: letter for each, letter in changed.items() if each != letter}
    if len(changed) <= _FEW_LETTERS:
        whole = texts.lower()
        for each, letter in changed.items():
            whole = whole.replace(encoded(each), encoded(letter))
    else:
        whole = encoded(_foreign_blank().sub(" ", decoded(texts).casefold()))
    return _tidy(whole).split(b"\0")


def _tidy(data: bytes) -> bytes:
    """What ``fold`` makes of blanks, for texts of ASCII with a NUL between them."""
    if any(map(data.__contains__, BLANKS)):
        data = data.translate(_SPACES)
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data.strip(b" ").replace(b" \0", b"\0").replace(b"\0 ", b"\0")


@cache
def _foreign_blank() -> re.Pattern[str]:
    import re

    return re.compile(f"[{_FOREIGN_BLANKS}]")


def decoded(texts: bytes) -> str:
    """UTF-8, in which halves of surrogate pairs stand as they are."""
    return texts.decode("utf-8", "surrogatepass")


def encoded(text: str) -> bytes:
    """As UTF-8, in which halves of surrogate pairs stand as they are."""
    return text.encode("utf-8", "surrogatepass")
