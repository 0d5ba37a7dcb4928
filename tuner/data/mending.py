"""What is wrong with a text by itself and can be mended without a doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.data.checks.texts import find_mojibake, mended, without_controls

if TYPE_CHECKING:
    from collections.abc import Callable


def mend(text: str) -> tuple[str, list[str]]:
    """A text as it should be, and the rules that it broke; the same text when none.

    Halves of surrogate pairs and control characters are taken out, and what was decoded with the
    wrong encoding, where that can be proved, is decoded with the right one.
    """
    if text.isascii() and text.isprintable():
        return text, []
    rules: list[str] = []
    before = None
    while before != text:  # what one step takes away may have hidden what the next one sees
        before = text
        for rule, step in _STEPS.items():
            after = step(text)
            if after != text:
                rules.append(rule)
            text = after
    return text, list(dict.fromkeys(rules))


def _whole(text: str) -> str:
    """Halves that belong together are joined, and others left out."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return text


def _decoded(text: str) -> str:
    if text.isascii():
        return text
    start, end = find_mojibake(text)
    while end > start:
        text = text[:start] + mended(text[start:end]) + text[end:]
        start, end = find_mojibake(text)
    return text


_STEPS: dict[str, Callable[[str], str]] = {
    "not-unicode": _whole,
    "mojibake": _decoded,
    "control-character": without_controls,
}
