"""Many texts in lower case at once, where they stand: what ``screen.fold`` makes of each letter."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from tuner.data.checks.screen import BLANKS, encoded
from tuner.spans import set_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tuner.spans import Buffer, Packed, Places

_SPACE = ord(" ")
_SPACED = np.array([_SPACE if code in BLANKS else code for code in range(256)], np.uint8)
_ONE = np.uint8(1)
_A, _LETTERS = np.uint8(ord("A")), np.uint8(26)
_TO_CASE = np.uint64(5)
"""From the lowest bit of a byte to the one that lower case has set."""
_LEADS = (0xC0, 0xE0, 0xF0, 0x100)
"""What the first byte of a letter of two, three and four bytes is at least; more there are not."""
_SIX, _LOW_SIX = 6, 0x3F
"""Bits that a byte behind the first adds to the letter's number."""
_RESIZED = 1
"""Stands for what no letter of the same number of bytes is."""
_FAR = 0x10000
"""The first letter of four bytes: few of those have a case, and the table ends before them."""


def lowered(texts: Packed) -> tuple[Packed, list[Places]]:
    """Texts in lower case, with spaces for blanks, and where letters are of which that is not true.

    Those are blanks beyond ASCII, and what takes more bytes in lower case, or fewer.
    """
    is_capital = texts.data - _A < _LETTERS
    words = is_capital.view(np.uint64) << _TO_CASE
    words |= texts.words
    low = texts._replace(words=words)
    blanks = set_in((texts.data - _ONE) < _SPACE - _ONE)  # and some controls; no zeros
    low.data[blanks] = _SPACED[texts.data[blanks]]
    leads = set_in(texts.data >= _LEADS[0])
    first = texts.data[leads]
    left = []
    for size, least in enumerate(_LEADS[:-1], 2):
        places = leads[(first >= least) & (first < _LEADS[size - 1])]
        if len(places):
            left.append(_fold(low.data, places, size))
    return low, left


def _fold(data: Buffer, places: Places, size: int) -> Places:
    """Fold letters of so many bytes; where they are left as they were though that is not right."""
    numbers = data[places].astype(np.int64) & (0xFF >> size + 1)
    for each in range(1, size):
        numbers = numbers << _SIX | data[places + each] & _LOW_SIX
    if numbers[0] >= _FAR:
        changed = [number for number in np.unique(numbers).tolist() if _folded(number)]
        return places.compress(np.isin(numbers, changed))
    new = _table()[numbers]
    same_size = set_in(new > _RESIZED)
    for each in range(size):
        data[places[same_size] + each] = new[same_size] >> 8 * each & 0xFF
    return places.compress(new == _RESIZED)


@cache
def _table() -> NDArray[np.int32]:
    """``_folded`` of every letter of up to three bytes."""
    return np.fromiter(map(_folded, range(_FAR)), np.int32, _FAR)


def _folded(number: int) -> int:
    """The bytes of a folded letter, the first as the lowest; 0 when it is the same."""
    letter = chr(number)
    folded = " " if letter.isspace() else letter.casefold()
    if folded == letter:
        return 0
    old, new = encoded(letter), encoded(folded)
    return int.from_bytes(new, "little") if len(old) == len(new) else _RESIZED
