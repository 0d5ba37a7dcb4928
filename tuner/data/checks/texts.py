"""What may be wrong with one text by itself: empty, too long, control characters, wrong encoding."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from tuner.data.checks.private import find_private

if TYPE_CHECKING:
    import re
    from collections.abc import Container, Iterator

    from tuner.data import Field
    from tuner.data.checks.screen import Screen

    Pattern: TypeAlias = re.Pattern[str]

_CONTROL = "[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufffe\uffff]|(?<![\x80-\xf4])[\x80-\x9f]"
"""Those of U+0080 to U+009F are part of mojibake when they follow a letter with an accent."""
_ANY_CONTROL = "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff]"
"""All of those, and quick to look for: one set of characters with nothing before it."""
_BEGINNINGS = b"\xc2\xef"
"""What those beyond ASCII begin with in UTF-8."""
_LOST = "\ufffd"
"""What stands for a byte that could not be decoded."""
_WRONG = rb"\xc3[\x82-\xb4][\xc2\xc5\xc6\xcb\xe2]"
"""What mojibake begins with in UTF-8: a letter of U+00C2 to U+00F4, and what may follow."""
_HALF = b"\xed"
"""What half of a surrogate pair would begin with in UTF-8; so does some Korean."""
_MOST_SHOWN = 40
"""Characters of a text that a message repeats."""
_NEVER_ALONE = "\xbb\u201d\u2019\u201c\u203a"
"""Closing quotes, which may well follow a word in capitals: «AMANHÃ»."""


class Flaw(NamedTuple):
    """Something wrong with a text.

    Attributes:
        row: Its index in the batch.
        field: Which text.
        offset: The character of the text that is meant.
        what: As in a Problem; so are the others.
    """

    row: int
    field: Field
    offset: int
    what: str
    fix: str
    rule: str


class Limit(NamedTuple):
    """How many characters a text may have, those of the instruction before it included."""

    most: int | None
    prefix: int = 0


def find_flaws(
    field: Field, screen: Screen, limit: Limit, ignore: Container[str] = frozenset()
) -> Iterator[Flaw]:
    """Yield what is wrong with the texts of a column, rule by rule; of control characters the first.

    Args:
        field: Which column it is.
        screen: The column.
        limit: Of each text.
        ignore: Rules that need not be looked for.
    """
    yield from _sizes(field, screen, limit)
    if "control-character" not in ignore:
        yield from _controls(field, screen)
    if _HALF in screen.plain:
        yield from _halves(field, screen)
    if "mojibake" not in ignore and screen.foreign:
        yield from _mojibake(field, screen)
    for row, found in find_private(screen, ignore):
        yield Flaw(row, field, *found)


def _sizes(field: Field, screen: Screen, limit: Limit) -> Iterator[Flaw]:
    for row in screen.blank():
        what = f"{field} is blank" if screen.texts[row] else f"{field} is empty"
        yield Flaw(row, field, 0, what, "fill it in, or delete the row", f"empty-{_rule(field)}")
    if limit.most is not None:
        for row in screen.longer(limit.most - limit.prefix):
            yield _long(row, field, len(screen.texts[row]), limit)


def _long(row: int, field: Field, size: int, limit: Limit) -> Flaw:
    with_it = " with the instruction" if limit.prefix else ""
    what = (
        f"{field} has {size + limit.prefix:,} characters{with_it}, the target takes {limit.most:,}"
    )
    return Flaw(row, field, 0, what, "shorten it, or delete the row", f"long-{_rule(field)}")


def _rule(field: Field) -> str:
    return field.replace("_", "-")


def _controls(field: Field, screen: Screen) -> Iterator[Flaw]:
    rows = screen.with_controls()
    may_be = any(map(screen.foreign_plain.__contains__, _BEGINNINGS))
    if may_be and _screening(_ANY_CONTROL).search(screen.foreign_text):
        rows = range(len(screen.texts))
    for row in rows:
        found = _control().findall(screen.texts[row])
        if found:
            more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
            what = f"{field} holds the control character {_named(found[0])}{more}"
            fix = "delete it, or `tuner data fix` does"
            offset = screen.texts[row].index(found[0])
            yield Flaw(row, field, offset, what, fix, "control-character")


def _named(character: str) -> str:
    """``U+0000``; with what it is, for the one that people meet."""
    name = " (a byte-order mark)" if character == "\ufeff" else ""
    return f"U+{ord(character):04X}{name}"


def _halves(field: Field, screen: Screen) -> Iterator[Flaw]:
    """Half of a surrogate pair, which JSON can write and UTF-8 cannot."""
    for row in screen.foreign:
        try:
            screen.texts[row].encode()
        except UnicodeEncodeError as error:
            what = f"{field} holds half of a surrogate pair, which is no character"
            fix = "write the character itself, or both halves of its \\u escape"
            yield Flaw(row, field, error.start, what, fix, "not-unicode")


def _mojibake(field: Field, screen: Screen) -> Iterator[Flaw]:
    if not _wrong().search(screen.foreign_plain) and _LOST.encode() not in screen.foreign_plain:
        return
    for row in screen.foreign:
        text = screen.texts[row]
        start, end = find_mojibake(text)
        if end > start:
            written, right = text[start:end], mended(text[start:end])
            what = f"{field} was decoded with the wrong encoding: {_cut(written)!r}"
            fix = f"it should be {_cut(right)!r}: `tuner data fix` mends it"
            yield Flaw(row, field, start, what, fix, "mojibake")
        elif _LOST in text:
            what = f"{field} holds U+FFFD, which stands for a byte that was lost in decoding"
            fix = "write the right character, or decode the original again, as what it was"
            yield Flaw(row, field, text.index(_LOST), what, fix, "mojibake")


def find_mojibake(text: str) -> tuple[int, int]:
    """Where UTF-8 was read as cp1252 or Latin-1, once, from the first such place to the run's end.

    Each such sequence is proved: as bytes it is one whole character of UTF-8 that can be printed.
    As some letters may well stand before a closing quote, one alone must begin as French, Spanish
    or German letters, quotes, or emoji do: with Ã, Â, â, ð or ï»¿.
    """
    for match in _suspect().finditer(text):
        run = match.group()
        right = mended(run)
        if (
            len(right) < len(run)
            and right.isprintable()
            and _is_telling(text, match.start(), right)
        ):
            return match.span()
    return 0, 0


def mended(run: str) -> str:
    """What such a run of characters was before; itself when it cannot have been anything."""
    codes = bytearray()
    for each in run:
        try:
            codes += each.encode("cp1252")
        except UnicodeEncodeError:
            if ord(each) > 0xFF:  # noqa: PLR2004 -- beyond Latin-1
                return run
            codes.append(ord(each))
    try:
        return codes.decode().lstrip("\ufeff")
    except UnicodeDecodeError:
        return run


def without_controls(text: str) -> str:
    """A text without the characters that are told as control-character."""
    return _control().sub("", text)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def _is_telling(text: str, start: int, right: str) -> bool:
    first = text[start]
    if first in "ÃÂ":
        capital = start > 0 and text[start - 1].isupper()
        return not (capital and text[start + 1] in _NEVER_ALONE)
    return len(right) > 1 or first in "âð" or text[start : start + 3] == "ï»¿"


@cache
def _control() -> Pattern:
    import re

    return re.compile(_CONTROL)


@cache
def _wrong() -> re.Pattern[bytes]:
    import re

    return re.compile(_WRONG)


@cache
def _screening(pattern: str) -> Pattern:
    import re

    return re.compile(pattern)


@cache
def _follow() -> str:
    """What the bytes 0x80 to 0xBF are as Latin-1 and as cp1252, which has no five of them."""
    import re

    windows = bytes(range(0x80, 0xC0)).decode("cp1252", "ignore")
    return f"[\x80-\xbf{re.escape(windows)}]"


@cache
def _suspect() -> Pattern:
    """One run of sequences that look like the bytes of UTF-8 read one by one."""
    import re

    one, two, three = (f"{_follow()}{{{count}}}" for count in (1, 2, 3))
    return re.compile(f"(?:[\xc2-\xdf]{one}|[\xe0-\xef]{two}|[\xf0-\xf4]{three})+")
