"""The filter of ListTunedModels: words to search for, and owner:me, writers:me, readers:me, readers:everyone."""

from __future__ import annotations

import re

from tuner.server.api_errors import invalid_field
from tuner.server.store.models import ModelQuery
from tuner.types import Role

MAX_LENGTH = 1000
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_ROLES = {"owner:me": Role.OWNER, "writers:me": Role.WRITER, "readers:me": Role.READER}
_EVERYONE = "readers:everyone"
_OPERATOR = re.compile(r"(owner|owners|writer|writers|reader|readers):\S*")


def parse(text: str, grantees: tuple[str, ...]) -> ModelQuery:
    """What to look for on behalf of ``grantees``. Everything asked for must hold at once.

    Raises:
        ApiError: An operator that does not exist, or more than a database searches for.
    """
    if len(text) > MAX_LENGTH or "\0" in text:
        what = f"at most {MAX_LENGTH:,} characters, none of them NUL"
        raise invalid_field("filter", what)
    found = [(quoted, plain) for quoted, plain in _WORD.findall(text)]
    words = [quoted or plain for quoted, plain in found if plain not in {*_ROLES, _EVERYONE}]
    operators = {plain for _, plain in found}
    unknown = next(
        (plain for plain in operators if _OPERATOR.fullmatch(plain) and plain in words), ""
    )
    if unknown:
        known = ", ".join([*_ROLES, _EVERYONE])
        raise invalid_field("filter", f"{unknown!r} is not an operator; there are {known}")
    roles = frozenset(role for operator, role in _ROLES.items() if operator in operators)
    return ModelQuery(
        grantees, roles, _EVERYONE in operators, tuple(word for word in words if word)
    )
