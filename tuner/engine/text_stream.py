"""Turn tokens, as they come, into text that is never taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INCOMPLETE = "\ufffd"  # what a decoder shows for a character whose bytes have not all come


class TextStream:
    """Holds back half characters, and what may become a stop sequence; ends before a stop sequence."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = ()) -> None:
        """Take the tokens' decoder, and the stop sequences, of which empty ones do not count."""
        self.decode = decode
        self.stops = tuple(stop for stop in stops if stop)
        self.tokens: list[int] = []
        self.sent = 0
        self.stopped = False

    def push(self, token: int) -> str:
        """Take a token. Returns the text that is now certain, which may be empty."""
        self.tokens.append(token)
        text = self.decode(self.tokens)
        found = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._send(text[: min(found)])
        return self._send(text[: len(text) - self._unsure(text)])

    def finish(self) -> str:
        """The rest, when no token will follow."""
        return "" if self.stopped else self._send(self.decode(self.tokens))

    def _send(self, text: str) -> str:
        piece, self.sent = text[self.sent :], max(self.sent, len(text))
        return piece

    def _unsure(self, text: str) -> int:
        """How many characters at the end may still change or become part of a stop sequence."""
        whole = text.removesuffix(INCOMPLETE)
        unsure = [len(text) - len(whole) + _overlap(whole, stop) for stop in ("", *self.stops)]
        return max([*unsure, *(_overlap(text, stop) for stop in self.stops)])


def _overlap(text: str, stop: str) -> int:
    """How long the end of ``text`` is that begins ``stop``."""
    lengths = range(min(len(text), len(stop) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)
