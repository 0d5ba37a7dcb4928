"""A thousand texts looked at in a few calls, to find the few that need a second look."""

from __future__ import annotations

from functools import cached_property
from itertools import repeat
from operator import contains
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_BLANKS = b"\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f"
"""What ``str.split`` parts ASCII at, but for the space."""
_SPACES = bytes.maketrans(_BLANKS, b" " * len(_BLANKS))
_CONTROLS = (*range(1, 9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)
_DIGITS = bytes.maketrans(b"123456789-", b"0" * 10)
"""Every digit, and the hyphen, made a 0."""
_60_BITS = (1 << 60) - 1
_EACH = 4
_BESIDE = 3
_A_FEW = 16
"""With more of a character than one in so many rows it is slow to look at what stands around each."""


class Screen:
    """One column of a batch, as texts and as one row of bytes in which C searches."""

    def __init__(self, texts: Sequence[str], *, many: bool = False) -> None:
        """Take a column; ``many`` more are to come, which makes importing numpy worth its time."""
        self.texts = texts
        self._many = many
        self._windows: dict[bytes, set[bytes] | None] = {}

    @cached_property
    def plain(self) -> bytes:
        """All texts in UTF-8, a NUL between."""
        return "\0".join(self.texts).encode("utf-8", "surrogatepass")

    @cached_property
    def foreign(self) -> Sequence[int]:
        """The rows that are not all ASCII."""
        if all(map(str.isascii, self.texts)):
            return ()
        return [row for row, text in enumerate(self.texts) if not text.isascii()]

    @cached_property
    def foreign_text(self) -> str:
        """Those rows, one after the other."""
        return "\n".join(map(self.texts.__getitem__, self.foreign))

    def having(self, needle: str) -> Sequence[int]:
        """The rows that hold ``needle``, which is ASCII; that there is none is told quickly."""
        if needle.encode() not in self.plain:
            return ()
        return [row for row, text in enumerate(self.texts) if needle in text]

    def may_have(self, needle: str, anchor: str) -> bool:
        """Whether some text may hold ``needle`` and ``anchor``, a rare character.

        One character is found twenty times sooner than a few. Where it is in ``needle`` as well, a
        look at what stands around it tells the rest.
        """
        wanted = needle.encode()
        if anchor not in needle:
            return anchor.encode() in self.plain and wanted in self.plain
        windows = self._around(anchor.encode())
        if windows is None:
            return wanted in self.plain
        at = wanted.index(anchor.encode())
        wanted = wanted[max(0, at - _BESIDE) : at + _BESIDE + 1]
        return any(wanted in each for each in windows)

    def with_controls(self) -> Sequence[int]:
        """The rows that may hold a control character of ASCII, other than tab and line ends."""
        has_nul = any(map(contains, self.texts, repeat("\0")))
        if has_nul or any(map(self.plain.__contains__, _CONTROLS)):
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

    def keys(self) -> list[int]:
        """A hash of each text, of 60 bits, that is the same when only case and blanks differ."""
        pieces = _tidy(self.plain.lower(), many=self._many).split(b"\0")
        if len(pieces) != len(self.texts):  # there is a NUL in a text
            pieces = [fold(text) for text in self.texts]
        for row in self.foreign:
            pieces[row] = fold(self.texts[row])
        return list(map(_60_BITS.__and__, map(hash, pieces)))

    def _rows_at(self, places: Sequence[int]) -> list[int]:
        """The rows that some bytes of ``plain``, in order, belong to."""
        rows, row, last = [], 0, 0
        for place in places:
            row += self.plain.count(0, last, place)
            last = place
            rows.append(row)
        return [] if len(self.texts) <= row else list(dict.fromkeys(rows))

    def _around(self, anchor: bytes) -> set[bytes] | None:
        """``anchor`` with what stands beside it, at every place; None where there are too many."""
        if anchor not in self._windows:
            most = len(self.texts) // _A_FEW + 1
            self._windows[anchor] = _find_windows(self.plain, anchor, most)
        return self._windows[anchor]


def fold(text: str) -> bytes:
    """A text in lower case, with one space wherever there are blanks, and none at its ends."""
    return " ".join(text.casefold().split()).encode("utf-8", "surrogatepass")


def _find_windows(data: bytes, anchor: bytes, most: int) -> set[bytes] | None:
    windows: set[bytes] = set()
    at = data.find(anchor)
    for _ in range(most):
        if at < 0:
            return windows
        windows.add(data[at - _BESIDE if at > _BESIDE else 0 : at + _BESIDE + 1])
        at = data.find(anchor, at + 1)
    return None


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
