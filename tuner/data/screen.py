"""A thousand texts looked at in a few calls, to find the few that need a second look."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_INVISIBLE = bytes(range(1, 33))
"""Blanks and control characters; a NUL stands between the texts."""
_CONTROLS = (*range(1, 9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)
_DIGITS = bytes.maketrans(b"123456789-", b"0" * 10)
"""Every digit, and the hyphen, made a 0."""
_60_BITS = (1 << 60) - 1


class Screen:
    """One column of a batch as one row of bytes, in which C searches.

    Attributes:
        texts: As they are.
        plain: All of them in UTF-8, a NUL between.
        foreign: The rows that are not all ASCII.
    """

    def __init__(self, texts: Sequence[str], *, many: bool = False) -> None:
        """Take a column; ``many`` more are to come, which makes importing numpy worth its time."""
        joined = "\0".join(texts)
        self.texts = texts
        self.plain = joined.encode("utf-8", "surrogatepass")
        self.foreign: Sequence[int] = ()
        if not joined.isascii():
            self.foreign = [row for row, text in enumerate(texts) if not text.isascii()]
        self._many = many

    def having(self, needle: str) -> Sequence[int]:
        """The rows that hold ``needle``, which is ASCII; that there is none is told quickly."""
        if needle.encode() not in self.plain:
            return ()
        return [row for row, text in enumerate(self.texts) if needle in text]

    def with_controls(self) -> Sequence[int]:
        """The rows that may hold a control character of ASCII, other than tab and line ends."""
        has_nul = self.plain.count(0) != max(0, len(self.texts) - 1)
        return range(len(self.texts)) if has_nul or self._has(_CONTROLS) else ()

    def with_cards(self) -> Sequence[int]:
        """The rows that may hold a card number.

        A quarter of the characters is enough to tell: of 13 digits in a row every fourth is a
        digit three times over; of digits in groups one of those may be a hyphen or a blank.
        """
        sample = self.plain[::4].translate(_DIGITS)
        return range(len(self.texts)) if b"000" in sample or b"00 0" in sample else ()

    def keys(self) -> list[int]:
        """A hash of each text, of 60 bits, that is the same when only case and blanks differ."""
        pieces = _without_blanks(self.plain.lower(), many=self._many).split(b"\0")
        if len(pieces) != len(self.texts):  # there is a NUL in a text, or no text at all
            pieces = [fold(text) for text in self.texts]
        for row in self.foreign:
            pieces[row] = fold(self.texts[row])
        return list(map(_60_BITS.__and__, map(hash, pieces)))

    def _has(self, codes: Sequence[int]) -> bool:
        return any(map(self.plain.__contains__, codes))


def fold(text: str) -> bytes:
    """What is left of a text without case, blanks and control characters."""
    blanks_out = "".join(text.casefold().split())
    return blanks_out.encode("utf-8", "surrogatepass").translate(None, _INVISIBLE)


def _without_blanks(data: bytes, *, many: bool) -> bytes:
    """The same in both ways; numpy needs a quarter of the time, once it is imported."""
    if not many:
        return data.translate(None, _INVISIBLE)
    import numpy as np

    codes = np.frombuffer(data, np.uint8)
    left: bytes = codes[(codes > ord(" ")) | (codes == 0)].tobytes()
    return left
