"""Check single texts: empty, too long, control characters, wrong encoding; and repair them."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from tuner.data.checks.rules import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from tuner.data.dataset import Field

_CONTROL = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufffe\uffff]|(?<![\x80-\xf4])[\x80-\x9f]"
)
"""U+0080 to U+009F after a letter with an accent are part of mojibake."""
_REPLACEMENT = "\ufffd"
_MAX_SHOWN_CHARS = 40
_CLOSING_QUOTES = "\xbb\u201d\u2019\u201c\u203a"
"""Characters that can follow a word in capitals, as in «AMANHÃ»."""


def check_texts(
    field: Field,
    texts: Sequence[str],
    max_chars: int | None,
    prefix_chars: int = 0,
    ignore: Container[str] = frozenset(),
) -> Iterator[Finding]:
    """Yield the problems of each text of a column; of control characters only the first.

    Args:
        field: Which column it is.
        texts: Its texts.
        max_chars: Characters that a text may have.
        prefix_chars: Characters of the instruction that is put in front of each.
        ignore: Codes of rules to skip.
    """
    name = field.replace("_", "-")
    most = float("inf") if max_chars is None else max_chars - prefix_chars
    for row, text in enumerate(texts):
        if not text or text.isspace():
            what = f"{field} is {'blank' if text else 'empty'}"
            yield Finding(row, 0, what, "fill it in, or delete the row", f"empty-{name}")
        if len(text) > most:
            size, suffix = len(text) + prefix_chars, " with the instruction" if prefix_chars else ""
            what = f"{field} has {size:,} characters{suffix}, the target takes {max_chars:,}"
            yield Finding(row, 0, what, "shorten it, or delete the row", f"long-{name}")
        if not (text.isascii() and text.isprintable()):
            if "control-character" not in ignore:
                yield from _check_controls(field, row, text)
            if not text.isascii():
                yield from _check_surrogates(field, row, text)
                if "mojibake" not in ignore:
                    yield from _check_mojibake(field, row, text)


def _check_controls(field: Field, row: int, text: str) -> Iterator[Finding]:
    if found := _CONTROL.findall(text):
        name = f"U+{ord(found[0]):04X}" + (" (a byte-order mark)" if found[0] == "\ufeff" else "")
        more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
        what = f"{field} contains the control character {name}{more}"
        fix = "delete it, or run `tuner data fix`"
        yield Finding(row, text.index(found[0]), what, fix, "control-character")


def _check_surrogates(field: Field, row: int, text: str) -> Iterator[Finding]:
    """JSON can contain half of a surrogate pair, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        what = f"{field} contains half of a surrogate pair, which is not a character"
        fix = "write the character itself, or both halves of its \\u escape"
        yield Finding(row, error.start, what, fix, "not-unicode")


def _check_mojibake(field: Field, row: int, text: str) -> Iterator[Finding]:
    start, end = find_mojibake(text)
    if end > start:
        wrong, right = text[start:end], decode_mojibake(text[start:end])
        what = f"{field} was decoded with the wrong encoding: {_shorten(wrong)!r}"
        fix = f"it should be {_shorten(right)!r}: `tuner data fix` repairs it"
        yield Finding(row, start, what, fix, "mojibake")
    elif _REPLACEMENT in text:
        what = f"{field} contains U+FFFD, which replaces a byte that could not be decoded"
        fix = "write the right character, or decode the original file with its own encoding"
        yield Finding(row, text.index(_REPLACEMENT), what, fix, "mojibake")


def find_mojibake(text: str) -> tuple[int, int]:
    """Return start and end of the first run of UTF-8 that was read as cp1252 or Latin-1.

    The bytes of each run are whole printable characters of UTF-8. As some letters may well stand
    before a closing quote, a single character counts only if it begins as French, Spanish or
    German letters, quotes or emoji do: with Ã, Â, â, ð or ï»¿. Returns 0, 0 if there is none.
    """
    for match in _mojibake_pattern().finditer(text):
        run = match.group()
        right = decode_mojibake(run)
        if (
            len(right) < len(run)
            and right.isprintable()
            and _is_certain(text, match.start(), right)
        ):
            return match.span()
    return 0, 0


def _is_certain(text: str, start: int, right: str) -> bool:
    first = text[start]
    if first in "ÃÂ":
        after_capital = start > 0 and text[start - 1].isupper()
        return not (after_capital and text[start + 1] in _CLOSING_QUOTES)
    return len(right) > 1 or first in "âð" or text[start : start + 3] == "ï»¿"


def decode_mojibake(run: str) -> str:
    """Return the text that such a run was before, or the run itself if it cannot be decoded."""
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


def repair_text(text: str) -> tuple[str, list[str]]:
    """Return a text with everything repaired that is certain, and the rules it broke.

    Removes halves of surrogate pairs and control characters, and decodes mojibake.
    """
    if text.isascii() and text.isprintable():
        return text, []
    rules: list[str] = []
    before = None
    while before != text:  # a removed character may have hidden the next problem
        before = text
        for rule, step in _REPAIRS.items():
            repaired = step(text)
            if repaired != text:
                rules.append(rule)
            text = repaired
    return text, list(dict.fromkeys(rules))


def _join_surrogates(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")


def _decode_all_mojibake(text: str) -> str:
    start, end = find_mojibake(text)
    while end > start:
        text = text[:start] + decode_mojibake(text[start:end]) + text[end:]
        start, end = find_mojibake(text)
    return text


_REPAIRS: dict[str, Callable[[str], str]] = {
    "not-unicode": _join_surrogates,
    "mojibake": _decode_all_mojibake,
    "control-character": lambda text: _CONTROL.sub("", text),
}


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[: _MAX_SHOWN_CHARS - 3]}..."


@cache
def _mojibake_pattern() -> re.Pattern[str]:
    """Sequences that look like the bytes of UTF-8 read one by one."""
    windows = bytes(range(0x80, 0xC0)).decode("cp1252", "ignore")
    follow = f"[\x80-\xbf{re.escape(windows)}]"
    one, two, three = (f"{follow}{{{count}}}" for count in (1, 2, 3))
    return re.compile(f"(?:[\xc2-\xdf]{one}|[\xe0-\xef]{two}|[\xf0-\xf4]{three})+")
