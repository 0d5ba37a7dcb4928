"""Who is asking: API keys, and what to call somebody without one."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.server.access.hosts import is_loopback
from tuner.server.refusals import Code, Refused
from tuner.server.store import groups, keys
from tuner.server.store.keys import KeyRow
from tuner.server.store.permissions import grantee
from tuner.types import GranteeType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tuner.server.store.database import Store

DESK = "keys and groups"  # what is remembered about them outlives writes about models
PREFIX = "tk-"
ID_LENGTH = 10
SECRET_LENGTH = 40  # of 36 characters each: over 200 bits, so one round of SHA-256 is enough
_ALPHABET = string.ascii_lowercase + string.digits
_KEY = re.compile(rf"{PREFIX}([a-z0-9]{{{ID_LENGTH}}})([a-z0-9]{{{SECRET_LENGTH}}})")


@dataclass(frozen=True, slots=True)
class Caller:
    """A person, the groups that the person is in, and the key that said so, by its id."""

    email_address: str
    groups: tuple[str, ...] = ()
    key_id: str = ""

    @property
    def own_grantees(self) -> tuple[str, ...]:
        """This person and these groups, as permissions name them."""
        person = grantee(GranteeType.USER, self.email_address)
        return person, *(grantee(GranteeType.GROUP, group) for group in self.groups)

    @property
    def grantees(self) -> tuple[str, ...]:
        """The same, and everyone."""
        return *self.own_grantees, grantee(GranteeType.EVERYONE, "")


NOBODY_ELSE = Caller("owner@localhost")


def new_key(email_address: str, now_ms: int) -> tuple[str, KeyRow]:
    """A key to show once, and the row to keep: it holds no way back to the key."""
    key_id, secret = _random(ID_LENGTH), _random(SECRET_LENGTH)
    salt = secrets.token_bytes(16)
    row = KeyRow(key_id, email_address, salt, _digest(salt, secret), now_ms)
    return f"{PREFIX}{key_id}{secret}", row


async def identify(
    store: Store, metadata: Mapping[str, str], *, wants_keys: bool = False
) -> Caller:
    """The caller behind a request's ``x-goog-api-key``, or else its ``authorization: Bearer``.

    While no key was ever made everybody is ``owner@localhost``, unless ``wants_keys``: a service
    that others can reach does. One ``tuner keys create`` ends that. Web pages never are: a browser
    sends what any of them wants to this machine.

    Raises:
        Refused: UNAUTHENTICATED.
    """
    desk = store.about(DESK)
    if not wants_keys and await desk.recall(keys.count) == 0:
        if _is_from_a_page(metadata):
            raise _unauthenticated("to a web page this service answers with a key only", "NO_KEY")
        return NOBODY_ELSE
    shown = _shown_key(metadata)
    if not shown:
        raise _unauthenticated("this service wants an API key, and the call shows none", "NO_KEY")
    parts = _KEY.fullmatch(shown)
    row = await desk.recall(keys.find, parts[1]) if parts else None
    if parts is None or row is None or not _is_good(row, parts[2]):
        raise _unauthenticated("the API key is not valid or was revoked", "API_KEY_INVALID")
    teams = await desk.recall(groups.of_person, row.email_address)
    return Caller(row.email_address, teams, row.id)


def _shown_key(metadata: Mapping[str, str]) -> str:
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return metadata.get("x-goog-api-key", "") or bearer


def _is_from_a_page(metadata: Mapping[str, str]) -> bool:
    """Whether a browser sent it, or was led here by another name than this machine's own."""
    host = metadata.get("host", "localhost")
    is_elsewhere = metadata.get("sec-fetch-site", "none") in {"cross-site", "same-site"}
    return "origin" in metadata or is_elsewhere or not is_loopback(host)


def _is_good(row: KeyRow, secret: str) -> bool:
    is_same = hmac.compare_digest(row.digest, _digest(row.salt, secret))
    return is_same and row.revoke_ms is None


def _digest(salt: bytes, secret: str) -> bytes:
    return hashlib.sha256(salt + secret.encode()).digest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _unauthenticated(what: str, reason: str) -> Refused:
    how = "send one as x-goog-api-key; the service's owner makes them with `tuner keys create`"
    return Refused(Code.UNAUTHENTICATED, f"{what}: {how}.", reason)
