"""Who may do what, as rows: permissions on tuned models, groups of people, and API keys."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tuner.server.store.schema import (
    group_table,
    key_table,
    member_table,
    model_table,
    permission_table,
)
from tuner.types import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection


class GranteeExists(Exception):
    """The grantee already has a permission for this model."""


class ModelNotFound(Exception):
    """The model does not exist, or was deleted meanwhile."""


class GroupExists(Exception):
    """There is a group with this address."""


class MemberExists(Exception):
    """The person named is already in the group."""


@dataclass(frozen=True, slots=True)
class PermissionRow:
    """One permission for one tuned model."""

    model: str
    id: str
    grantee_type: str
    email_address: str
    role: str

    @property
    def grantee(self) -> str:
        """The grantee in comparable form."""
        return grantee_key(self.grantee_type, self.email_address)


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group with its members, ordered by address."""

    email_address: str
    create_ms: int
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key without its secret, of which it holds a salted digest; not revoked: ``revoke_ms`` is None."""

    id: str
    email_address: str
    salt: bytes
    digest: bytes
    create_ms: int
    revoke_ms: int | None = None


_COLUMNS = [permission_table.c[name] for name in PermissionRow.__dataclass_fields__]
_KEY_COLUMNS = [key_table.c[name] for name in KeyRow.__dataclass_fields__]


def grantee_key(grantee_type: str, email_address: str) -> str:
    """Return a grantee in comparable form: type and case-folded address."""
    return f"{grantee_type}:{email_address.casefold()}"


def insert(connection: Connection, row: PermissionRow) -> None:
    """Add a permission. Raises ModelNotFound, GranteeExists."""
    model = sa.select(model_table.c.position).where(model_table.c.name == row.model)
    if connection.execute(model).first() is None:
        raise ModelNotFound
    try:
        connection.execute(permission_table.insert().values(**asdict(row), grantee=row.grantee))
    except IntegrityError as error:
        raise GranteeExists from error


def find(connection: Connection, model: str, permission_id: str) -> PermissionRow | None:
    """Return one permission."""
    found = connection.execute(sa.select(*_COLUMNS).where(*_is(model, permission_id))).first()
    return None if found is None else PermissionRow(*found)


def page(
    connection: Connection, model: str, after: int, size: int
) -> list[tuple[int, PermissionRow]]:
    """Return a model's oldest permissions after position ``after``, each with its position."""
    position = permission_table.c.position
    which = permission_table.c.model == model, position > after
    select = sa.select(position, *_COLUMNS).where(*which).order_by(position).limit(size)
    found = connection.execute(select).all()
    return [(position, PermissionRow(*values)) for position, *values in found]


def update_role(
    connection: Connection, model: str, permission_id: str, role: Role
) -> PermissionRow | None:
    """Change the role of a permission that is not the owner's; return the permission, if any."""
    which = *_is(model, permission_id), permission_table.c.role != Role.OWNER
    connection.execute(sa.update(permission_table).where(*which).values(role=role))
    return find(connection, model, permission_id)


def delete(connection: Connection, model: str, permission_id: str) -> bool:
    """Delete a permission that is not the owner's; return whether there was one."""
    which = *_is(model, permission_id), permission_table.c.role != Role.OWNER
    return connection.execute(sa.delete(permission_table).where(*which)).rowcount > 0


def transfer(connection: Connection, new_owner: PermissionRow, grantees: Sequence[str]) -> bool:
    """Make the old owner, who is one of ``grantees``, a writer and ``new_owner`` the owner.

    Changes nothing if both are the same. Returns False if none of ``grantees`` is the owner.
    """
    table = permission_table.c
    change = sa.update(permission_table).where(table.model == new_owner.model)
    demote = change.where(table.role == Role.OWNER, table.grantee.in_(grantees))
    if connection.execute(demote.values(role=Role.WRITER)).rowcount == 0:
        return False
    promote = change.where(table.grantee == new_owner.grantee)
    if connection.execute(promote.values(role=Role.OWNER)).rowcount == 0:
        insert(connection, new_owner)
    return True


def list_roles(connection: Connection, model: str, grantees: Sequence[str]) -> frozenset[str]:
    """Return the roles that the grantees hold; empty if the model is hidden from all of them."""
    which = permission_table.c.model == model, permission_table.c.grantee.in_(grantees)
    return frozenset(connection.scalars(sa.select(permission_table.c.role).where(*which)))


def create_group(connection: Connection, group: str, now_ms: int) -> None:
    """Create a group without members. Raises GroupExists."""
    row = {"email_address": group.casefold(), "create_ms": now_ms}
    try:
        connection.execute(group_table.insert().values(row))
    except IntegrityError as error:
        raise GroupExists(group) from error


def delete_group(connection: Connection, group: str) -> bool:
    """Delete a group and return whether there was one. Its permissions stay, without effect."""
    which = group_table.c.email_address == group.casefold()
    return connection.execute(sa.delete(group_table).where(which)).rowcount > 0


def add_members(connection: Connection, group: str, people: Sequence[str], now_ms: int) -> None:
    """Add people to a group that exists. Raises MemberExists; then none is added."""
    for person in people:
        row = {"email_address": person.casefold(), "create_ms": now_ms}
        try:
            connection.execute(member_table.insert().values(user_group=group.casefold(), **row))
        except IntegrityError as error:
            raise MemberExists(person) from error


def remove_member(connection: Connection, group: str, person: str) -> bool:
    """Remove a person from a group; return whether the person was a member."""
    table = member_table.c
    which = table.user_group == group.casefold(), table.email_address == person.casefold()
    return connection.execute(sa.delete(member_table).where(*which)).rowcount > 0


def has_group(connection: Connection, group: str) -> bool:
    """Return whether there is a group with this address."""
    which = group_table.c.email_address == group.casefold()
    return connection.execute(sa.select(group_table.c.create_ms).where(which)).first() is not None


def groups_of(connection: Connection, person: str) -> tuple[str, ...]:
    """Return the groups that a person is in."""
    which = member_table.c.email_address == person.casefold()
    select = sa.select(member_table.c.user_group).where(which)
    return tuple(connection.scalars(select.order_by(member_table.c.user_group)))


def list_groups(connection: Connection) -> list[GroupRow]:
    """Return every group, ordered by address."""
    members: dict[str, list[str]] = {}
    table = member_table.c
    for group, person in connection.execute(
        sa.select(table.user_group, table.email_address).order_by(table.email_address)
    ):
        members.setdefault(group, []).append(person)
    select = sa.select(group_table).order_by(group_table.c.email_address)
    return [
        GroupRow(row.email_address, row.create_ms, tuple(members.get(row.email_address, ())))
        for row in connection.execute(select)
    ]


def insert_key(connection: Connection, row: KeyRow) -> None:
    """Add an API key."""
    connection.execute(key_table.insert().values(**asdict(row)))


def find_key(connection: Connection, key_id: str) -> KeyRow | None:
    """Return one API key, revoked or not."""
    found = connection.execute(sa.select(*_KEY_COLUMNS).where(key_table.c.id == key_id)).first()
    return None if found is None else KeyRow(*found)


def count_keys(connection: Connection) -> int:
    """Return the number of API keys, revoked ones included."""
    return connection.execute(sa.select(sa.func.count()).select_from(key_table)).scalar_one()


def count_valid_keys(connection: Connection) -> int:
    """Return the number of API keys that are not revoked."""
    select = sa.select(sa.func.count()).where(key_table.c.revoke_ms.is_(None))
    return connection.execute(select).scalar_one()


def list_keys(connection: Connection) -> list[KeyRow]:
    """Return every API key, the oldest first."""
    select = sa.select(*_KEY_COLUMNS).order_by(key_table.c.create_ms, key_table.c.id)
    return [KeyRow(*row) for row in connection.execute(select)]


def revoke_key(connection: Connection, key_id: str, now_ms: int) -> bool:
    """Revoke an API key; return whether there was a valid one with this id."""
    which = key_table.c.id == key_id, key_table.c.revoke_ms.is_(None)
    change = sa.update(key_table).where(*which).values(revoke_ms=now_ms)
    return connection.execute(change).rowcount > 0


def _is(model: str, permission_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return permission_table.c.model == model, permission_table.c.id == permission_id
