"""Page sizes and page tokens (AIP-158), and the filter of ListTunedModels."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

from tuner.server.api_errors import invalid_field
from tuner.server.store.models import ModelQuery
from tuner.types import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.server.access import Caller
    from tuner.server.messages import Message

MAX_SIZE = 1000
MAX_BYTES = 3 << 20  # gRPC clients accept 4 MiB by default
MAX_POSITION = 2**63  # the databases' integers end there
MAX_FILTER_LENGTH = 1000
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_ROLES = {"owner:me": Role.OWNER, "writers:me": Role.WRITER, "readers:me": Role.READER}
_EVERYONE = "readers:everyone"
_OPERATOR = re.compile(r"(owner|owners|writer|writers|reader|readers):\S*")


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list: ``size`` items after ``position``, which is 0 for the first page.

    ``query`` is what must be the same for all pages. A token is a position with a digest of both, so
    it is refused for another query or caller; it grants nothing.
    """

    position: int
    size: int
    query: tuple[str, ...]

    def next_token(self, last_position: int) -> str:
        """Return the token of the page after ``last_position``."""
        content = json.dumps([last_position, *self.query]).encode()
        digest = hashlib.sha256(content).hexdigest()[:16]
        return base64.urlsafe_b64encode(f"{last_position}.{digest}".encode()).decode()

    def cut(self, found: Sequence[tuple[int, Message]]) -> tuple[tuple[Message, ...], str]:
        """Return the items of this page, fewer than ``size`` if they are large, and the next token.

        Args:
            found: Items with their positions, one more than ``size`` if there are more.
        """
        totals = accumulate(message.ByteSize() for _, message in found[: self.size])
        count = max(1, sum(total <= MAX_BYTES for total in totals))
        token = self.next_token(found[count - 1][0]) if len(found) > count else ""
        return tuple(message for _, message in found[:count]), token


def parse_page(request: Message, caller: Caller, default_size: int, *query: str) -> Page:
    """Return the page that a request names; ``query`` is what else selects the list.

    Raises:
        ApiError: The size is negative, or the token belongs to another query or caller.
    """
    if request.page_size < 0:
        raise invalid_field("page_size", "must not be negative")
    size = min(request.page_size or default_size, MAX_SIZE)
    page = Page(0, size, (type(request).__name__, caller.email_address.casefold(), *query))
    token = request.page_token
    if not token:
        return page
    with suppress(ValueError):
        position = int(base64.urlsafe_b64decode(token).partition(b".")[0])
        if 0 < position < MAX_POSITION and token == page.next_token(position):
            return replace(page, position=position)
    what = "belongs to another request or another caller; start without one"
    raise invalid_field("page_token", what)


def parse_filter(text: str, grantees: tuple[str, ...]) -> ModelQuery:
    """Return the query of a filter: words, ``owner:me`` and the like, all of which must match.

    Raises:
        ApiError: An unknown operator, a NUL character, or too long.
    """
    if len(text) > MAX_FILTER_LENGTH or "\0" in text:
        what = f"at most {MAX_FILTER_LENGTH:,} characters, none of them NUL"
        raise invalid_field("filter", what)
    words, operators = [], set()
    for quoted, plain in _WORD.findall(text):
        if plain in {*_ROLES, _EVERYONE}:
            operators.add(plain)
        elif _OPERATOR.fullmatch(plain):
            known = ", ".join([*_ROLES, _EVERYONE])
            raise invalid_field("filter", f"{plain!r} is not an operator; there are {known}")
        elif quoted or plain:
            words.append(quoted or plain)
    roles = frozenset(role for operator, role in _ROLES.items() if operator in operators)
    return ModelQuery(grantees, roles, _EVERYONE in operators, tuple(words))
