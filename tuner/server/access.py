"""Who calls the service: API keys and groups, and the person behind a request."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tuner.errors import AlreadyExists, InvalidInput, NotFound, Problem
from tuner.server.api_errors import ApiError, Code
from tuner.server.settings import is_loopback
from tuner.server.store import open_store, permissions
from tuner.server.store.permissions import KeyRow, grantee_key
from tuner.types import GranteeType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tuner.server.store.database import Store, Transaction
    from tuner.server.store.permissions import GroupRow

T = TypeVar("T")
CACHE_TOPIC = "keys and groups"  # writes about models do not invalidate it
KEY_PREFIX = "tk-"
KEY_ID_LENGTH = 10
SECRET_LENGTH = 40  # over 200 bits, so one round of SHA-256 is enough
MAX_EMAIL_LENGTH = 254  # RFC 5321
_ALPHABET = string.ascii_lowercase + string.digits
_KEY = re.compile(rf"{KEY_PREFIX}([a-z0-9]{{{KEY_ID_LENGTH}}})([a-z0-9]{{{SECRET_LENGTH}}})")
_EMAIL = re.compile(r"[^@\s\0]+@[^@\s\0]+")


@dataclass(frozen=True, slots=True)
class Caller:
    """A person, that person's groups, and the id of the API key that was sent."""

    email_address: str
    groups: tuple[str, ...] = ()
    key_id: str = ""

    @property
    def own_grantees(self) -> tuple[str, ...]:
        """The person and the groups, as permissions name them."""
        person = grantee_key(GranteeType.USER, self.email_address)
        return person, *(grantee_key(GranteeType.GROUP, group) for group in self.groups)

    @property
    def grantees(self) -> tuple[str, ...]:
        """``own_grantees`` and EVERYONE."""
        return *self.own_grantees, grantee_key(GranteeType.EVERYONE, "")


LOCAL_OWNER = Caller("owner@localhost")


async def identify(
    store: Store, metadata: Mapping[str, str], *, requires_key: bool = False
) -> Caller:
    """Return the caller by ``x-goog-api-key``, or else by ``authorization: Bearer``.

    Until the first key is created every local caller is ``owner@localhost``, unless ``requires_key``.
    A web page never is: any page can make a browser send requests here. Raises ApiError.
    """
    keys = 1 if requires_key else await store.read_cached(permissions.count_keys, topic=CACHE_TOPIC)
    if keys == 0:
        if _is_from_web_page(metadata):
            raise _unauthenticated("requests of a web page need an API key", "NO_KEY")
        return LOCAL_OWNER
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    sent = metadata.get("x-goog-api-key", "") or bearer
    if not sent:
        raise _unauthenticated("this service requires an API key, and the call has none", "NO_KEY")
    parts = _KEY.fullmatch(sent)
    row = None
    if parts:
        row = await store.read_cached(permissions.find_key, parts[1], topic=CACHE_TOPIC)
    is_valid = parts and row and hmac.compare_digest(row.digest, _digest(row.salt, parts[2]))
    if row is None or row.revoke_ms is not None or not is_valid:
        raise _unauthenticated("the API key is not valid or was revoked", "API_KEY_INVALID")
    email = row.email_address
    own_groups = await store.read_cached(permissions.groups_of, email, topic=CACHE_TOPIC)
    return Caller(email, own_groups, row.id)


def new_key(email_address: str, now_ms: int) -> tuple[str, KeyRow]:
    """Return a new key, to be shown once, and its row, which holds only a salted hash."""
    key_id, secret = _random_text(KEY_ID_LENGTH), _random_text(SECRET_LENGTH)
    salt = secrets.token_bytes(16)
    row = KeyRow(key_id, email_address, salt, _digest(salt, secret), now_ms)
    return f"{KEY_PREFIX}{key_id}{secret}", row


def create_key(folder: Path, email_address: str, database: str | None = None) -> tuple[str, str]:
    """Create a key; return its id, and the key itself. Raises InvalidInput or StoreFailed."""
    check_emails(email_address)
    key, row = new_key(email_address, _now_ms())
    _run(folder, database, permissions.insert_key, row)
    return row.id, key


def list_keys(folder: Path, database: str | None = None) -> list[KeyRow]:
    """Return every key, also the revoked ones, oldest first."""
    return _run(folder, database, permissions.list_keys)


def revoke_key(folder: Path, key_id: str, database: str | None = None) -> str:
    """Revoke a key, given its id or the key itself, and return the id. Raises NotFound."""
    key_id = key_id.removeprefix(KEY_PREFIX)[:KEY_ID_LENGTH]
    if not _run(folder, database, permissions.revoke_key, key_id, _now_ms()):
        raise NotFound(f"there is no valid key {key_id}", "`tuner keys list` shows the keys")
    return key_id


def create_group(
    folder: Path, group: str, people: Sequence[str] = (), database: str | None = None
) -> None:
    """Create a group with members. Raises InvalidInput or AlreadyExists."""

    def create(connection: Transaction) -> None:
        permissions.create_group(connection, group, now_ms)
        permissions.add_members(connection, group, people, now_ms)

    check_emails(group, *people)
    now_ms = _now_ms()
    _run(folder, database, create)


def add_members(
    folder: Path, group: str, people: Sequence[str], database: str | None = None
) -> None:
    """Add all of the people to a group, or none. Raises InvalidInput, NotFound or AlreadyExists."""

    def add(connection: Transaction) -> None:
        _require_group(connection, group)
        permissions.add_members(connection, group, people, _now_ms())

    check_emails(group, *people)
    _run(folder, database, add)


def remove_members(
    folder: Path, group: str, people: Sequence[str], database: str | None = None
) -> None:
    """Remove all of the people from a group, or none. Raises NotFound."""

    def remove(connection: Transaction) -> None:
        _require_group(connection, group)
        for person in people:
            if not permissions.remove_member(connection, group, person):
                what = f"{person} is not in the group {group}"
                raise NotFound(what, "`tuner groups list` shows the members; no one was removed")

    _run(folder, database, remove)


def delete_group(folder: Path, group: str, database: str | None = None) -> None:
    """Delete a group; permissions granted to it stay without effect. Raises NotFound."""
    if not _run(folder, database, permissions.delete_group, group):
        raise _unknown_group(group)


def list_groups(folder: Path, database: str | None = None) -> list[GroupRow]:
    """Return every group with its members."""
    return _run(folder, database, permissions.list_groups)


def is_email(text: str) -> bool:
    """Return whether the text has the form of an e-mail address."""
    return len(text) <= MAX_EMAIL_LENGTH and _EMAIL.fullmatch(text) is not None


def check_emails(*texts: str) -> None:
    """Report every text that is not an e-mail address. Raises InvalidInput."""
    invalid = [each for each in texts if not is_email(each)]
    fix = "write it as ana@example.com"
    if invalid:
        raise InvalidInput(
            [Problem("", 0, 0, f"{each!r} is not an e-mail address", fix) for each in invalid]
        )


def _require_group(connection: Transaction, group: str) -> None:
    if not permissions.has_group(connection, group):
        raise _unknown_group(group)


def _unknown_group(group: str) -> NotFound:
    fix = f"create it with `tuner groups create {group}`; `tuner groups list` shows all groups"
    return NotFound(f"there is no group {group}", fix)


def _run(folder: Path, database: str | None, work: Callable[..., T], *args: object) -> T:
    """Run a transaction on the service's database, whether the service runs or not."""
    try:
        with closing(open_store(folder, database)) as store:
            return store.run(work, *args)
    except permissions.GroupExists as error:
        fix = f"`tuner groups add {error} EMAIL` adds members"
        raise AlreadyExists(f"there is a group {error} already", fix) from error
    except permissions.MemberExists as error:
        what = f"{error} is in the group already"
        raise AlreadyExists(what, "leave them out; no one was added") from error


def _is_from_web_page(metadata: Mapping[str, str]) -> bool:
    """Detect browser requests, also by a host name that was made to resolve to this machine."""
    host = metadata.get("host", "localhost")
    is_cross_site = metadata.get("sec-fetch-site", "none") in {"cross-site", "same-site"}
    return "origin" in metadata or is_cross_site or not is_loopback(host)


def _digest(salt: bytes, secret: str) -> bytes:
    return hashlib.sha256(salt + secret.encode()).digest()


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _unauthenticated(what: str, reason: str) -> ApiError:
    fix = "send one as x-goog-api-key; the service's owner creates them with `tuner keys create`"
    return ApiError(Code.UNAUTHENTICATED, f"{what}: {fix}.", reason)


def _now_ms() -> int:
    return int(time.time() * 1000)
