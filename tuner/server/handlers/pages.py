"""Pages of a list: sizes, and tokens that fit one question of one caller (AIP-158)."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

from tuner.server.api_errors import invalid_field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.server.access import Caller
    from tuner.server.messages import Message

MAX_SIZE = 1000
MAX_BYTES = 3 << 20  # clients over gRPC take 4 MiB
LAST = 2**63  # no database counts further


@dataclass(frozen=True, slots=True)
class Page:
    """What to show: ``size`` things beyond ``position``, which is 0 on the first page.

    ``question`` is all that must not change from page to page. A token is a position with a
    digest of both: it tells where to go on, fits nothing else, and grants nothing.
    """

    position: int
    size: int
    question: tuple[str, ...]

    def next_token(self, last_position: int) -> str:
        """The token for what comes after ``last_position``."""
        content = json.dumps([last_position, *self.question]).encode()
        digest = hashlib.sha256(content).hexdigest()[:16]
        return base64.urlsafe_b64encode(f"{last_position}.{digest}".encode()).decode()

    def shown(self, found: Sequence[tuple[int, Message]]) -> tuple[tuple[Message, ...], str]:
        """What is on this page, and the token of the next: fewer than asked for if they are large.

        Args:
            found: Things with their positions, one more than ``size`` if there are more.
        """
        totals = accumulate(message.ByteSize() for _, message in found[: self.size])
        count = max(1, sum(total <= MAX_BYTES for total in totals))
        token = self.next_token(found[count - 1][0]) if len(found) > count else ""
        return tuple(message for _, message in found[:count]), token


def asked(request: Message, caller: Caller, default_size: int, *about: str) -> Page:
    """The page a request asks for; ``about`` is the rest of the question.

    Raises:
        ApiError: The size is negative, or the token belongs to another question or caller.
    """
    if request.page_size < 0:
        raise invalid_field("page_size", "must not be negative")
    size = min(request.page_size or default_size, MAX_SIZE)
    first = Page(0, size, (type(request).__name__, caller.email_address.casefold(), *about))
    token = request.page_token
    return replace(first, position=_position(token, first)) if token else first


def _position(token: str, first: Page) -> int:
    with suppress(ValueError):
        position = int(base64.urlsafe_b64decode(token).partition(b".")[0])
        if 0 < position < LAST and token == first.next_token(position):
            return position
    raise invalid_field(
        "page_token", "belongs to another request or another caller; start without one"
    )
