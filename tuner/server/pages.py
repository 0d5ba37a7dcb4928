"""Pages of a list: sizes, and tokens that fit one question of one caller (AIP-158)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.server.refusals import invalid_field

if TYPE_CHECKING:
    from tuner.server.identity import Caller
    from tuner.server.messages import Message

MAX_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """What to show: ``size`` things beyond ``position``, which is 0 on the first page.

    ``question`` is a digest of all that must not change from page to page. A token holds a
    position and this digest: it tells where to go on and grants nothing.
    """

    position: int
    size: int
    question: str

    def next_token(self, last_position: int) -> str:
        """The token for what comes after ``last_position``."""
        token = json.dumps([last_position, self.question])
        return base64.urlsafe_b64encode(token.encode()).decode()


def asked(request: Message, caller: Caller, default_size: int, *about: str) -> Page:
    """The page a request asks for; ``about`` is the rest of the question.

    Raises:
        Refused: The size is negative, or the token belongs to another question or caller.
    """
    if request.page_size < 0:
        raise invalid_field("page_size", "must not be negative")
    size = min(request.page_size or default_size, MAX_SIZE)
    question = _digest([type(request).__name__, caller.email_address, *about])
    return Page(_position(request.page_token, question), size, question)


def _position(token: str, question: str) -> int:
    if not token:
        return 0
    try:
        position, of_question = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError):
        of_question = None
    if of_question != question or not isinstance(position, int):
        raise invalid_field(
            "page_token", "belongs to another request or another caller; start without one"
        )
    return position


def _digest(parts: list[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
