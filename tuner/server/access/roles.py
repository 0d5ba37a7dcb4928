"""Who may call what: a reader infers, a writer also edits and shares, an owner also deletes."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING

from tuner import names
from tuner.server.refusals import Code, Refused, hidden, invalid_field
from tuner.server.store import permissions
from tuner.types import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.server.access.identity import Caller
    from tuner.server.messages import Message
    from tuner.server.methods import Method
    from tuner.server.service import Service

RANK = {Role.READER: 1, Role.WRITER: 2, Role.OWNER: 3}


async def check(service: Service, caller: Caller, method: Method, request: Message) -> None:
    """Let the call pass, or raise Refused.

    A model hidden from the caller and one that does not exist give the same answer.
    """
    name = _tuned_model(method, request)
    if method.role is None or not name:
        return
    held = await service.store.about(name).recall(permissions.roles, name, caller.grantees)
    if not held:
        raise hidden(name)
    highest = max(held, key=_rank)
    if _rank(highest) < _rank(method.role):
        raise Refused(
            Code.PERMISSION_DENIED,
            f"{method.short_name} on {name} needs the role {method.role};"
            f" {caller.email_address} is a {highest}.",
            "ROLE_TOO_LOW",
        )


def _rank(role: str) -> int:
    return RANK[Role(role)]


def _tuned_model(method: Method, request: Message) -> str:
    if not method.about:
        return ""
    name: str = attrgetter(method.about)(request)
    if method.exempt is not None and re.fullmatch(method.exempt, name):
        return ""
    if name.startswith("corpora/"):
        raise Refused(Code.UNIMPLEMENTED, f"{name}: there are no corpora here.", "NO_CORPORA")
    found = _PARENTS.get(method.form, _itself)(name)
    if found is None:
        raise invalid_field(method.about, f"{name!r} is not of the form {method.form}")
    return found


def _itself(name: str) -> str | None:
    return name if names.is_tuned_model(name) else None


# By Method.form: the tuned model that a name of this form is about.
_PARENTS: dict[str, Callable[[str], str | None]] = {
    "tunedModels/ID/operations/ID": names.operation_parent,
    "tunedModels/ID or tunedModels/ID/operations/ID": (
        lambda name: _itself(name) or names.operation_parent(name)
    ),
    "tunedModels/ID/permissions/ID": names.permission_parent,
    "tunedModels/ID/operations": lambda name: _itself(name.removesuffix("/operations")),
}
