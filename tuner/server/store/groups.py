"""Groups of people, as rows: what a permission gives a group, it gives each member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from tuner.server.store.tables import member, user_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group with its members, in the order of their addresses."""

    email_address: str
    create_ms: int
    members: tuple[str, ...] = ()


class GroupExists(Exception):
    """There is a group of this address."""


class IsMember(Exception):
    """The person named is in the group already."""


def create(connection: Connection, email_address: str, now_ms: int) -> None:
    """Make a group without members. Raises GroupExists."""
    row = {"email_address": email_address.casefold(), "create_ms": now_ms}
    try:
        connection.execute(user_group.insert().values(row))
    except IntegrityError as error:
        raise GroupExists(email_address) from error


def add(connection: Connection, group: str, people: Sequence[str], now_ms: int) -> None:
    """Add people to a group that exists, all or none. Raises IsMember."""
    for person in people:
        row = {"email_address": person.casefold(), "create_ms": now_ms}
        try:
            connection.execute(member.insert().values(user_group=group.casefold(), **row))
        except IntegrityError as error:
            raise IsMember(person) from error


def remove(connection: Connection, group: str, person: str) -> bool:
    """Take somebody out of a group; whether they were in it."""
    asked = delete(member).where(
        member.c.user_group == group.casefold(), member.c.email_address == person.casefold()
    )
    return connection.execute(asked).rowcount > 0


def dissolve(connection: Connection, group: str) -> bool:
    """Delete a group; whether there was one. Permissions given to it stay, and count for nobody."""
    asked = delete(user_group).where(user_group.c.email_address == group.casefold())
    return connection.execute(asked).rowcount > 0


def exists(connection: Connection, group: str) -> bool:
    """Whether there is a group of this address."""
    asked = select(user_group.c.create_ms).where(user_group.c.email_address == group.casefold())
    return connection.execute(asked).first() is not None


def of_person(connection: Connection, email_address: str) -> tuple[str, ...]:
    """The groups somebody is in."""
    asked = select(member.c.user_group).where(member.c.email_address == email_address.casefold())
    return tuple(connection.scalars(asked.order_by(member.c.user_group)))


def all_groups(connection: Connection) -> list[GroupRow]:
    """Every group, in the order of their addresses."""
    found: dict[str, list[str]] = {}
    for name, person in connection.execute(
        select(member.c.user_group, member.c.email_address).order_by(member.c.email_address)
    ):
        found.setdefault(name, []).append(person)
    groups = select(user_group.c.email_address, user_group.c.create_ms)
    return [
        GroupRow(name, create_ms, tuple(found.get(name, ())))
        for name, create_ms in connection.execute(groups.order_by(user_group.c.email_address))
    ]
