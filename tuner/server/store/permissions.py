"""Who may do what with a tuned model, as rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from tuner.server.store.tables import permission
from tuner.types import GranteeType, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection


@dataclass(frozen=True, slots=True)
class PermissionRow:
    """One permission; ``grantee`` is who it is for, comparable."""

    model: str
    id: str
    grantee_type: str
    email_address: str
    role: str

    @property
    def grantee(self) -> str:
        """Addresses differ only by more than their case."""
        return grantee(self.grantee_type, self.email_address)


class GranteeTaken(Exception):
    """The grantee has a permission for this model already."""


_COLUMNS = [permission.c[name] for name in PermissionRow.__dataclass_fields__]


def grantee(grantee_type: str, email_address: str) -> str:
    """Who a permission is for, comparable."""
    return f"{grantee_type}:{email_address.casefold()}"


def insert(connection: Connection, row: PermissionRow) -> None:
    """Add a permission. Raises GranteeTaken."""
    try:
        connection.execute(permission.insert().values(**asdict(row), grantee=row.grantee))
    except IntegrityError as error:
        raise GranteeTaken from error


def find(connection: Connection, model: str, permission_id: str) -> PermissionRow | None:
    """One permission."""
    asked = select(*_COLUMNS).where(*_is(model, permission_id))
    found = connection.execute(asked).first()
    return None if found is None else PermissionRow(*found)


def page(
    connection: Connection, model: str, after: int, size: int
) -> list[tuple[int, PermissionRow]]:
    """The oldest permissions of a model after position ``after``, each with its position."""
    asked = (
        select(permission.c.position, *_COLUMNS)
        .where(permission.c.model == model, permission.c.position > after)
        .order_by(permission.c.position)
        .limit(size)
    )
    found = connection.execute(asked).all()
    return [(position, PermissionRow(*values)) for position, *values in found]


def change_role(
    connection: Connection, model: str, permission_id: str, role: Role
) -> PermissionRow | None:
    """Give another role, but never to or from the owner; None when there is nothing to change."""
    asked = update(permission).where(*_is(model, permission_id), permission.c.role != Role.OWNER)
    connection.execute(asked.values(role=role))
    return find(connection, model, permission_id)


def remove(connection: Connection, model: str, permission_id: str) -> bool:
    """Delete a permission that is not the owner's; whether there was one."""
    asked = delete(permission).where(*_is(model, permission_id), permission.c.role != Role.OWNER)
    return connection.execute(asked).rowcount > 0


def transfer(connection: Connection, model: str, new_id: str, email_address: str) -> None:
    """Make somebody the owner and the old owner a writer; nothing when they are the same."""
    new_owner = grantee(GranteeType.USER, email_address)
    of_model = permission.c.model == model
    is_owner, is_new = permission.c.role == Role.OWNER, permission.c.grantee == new_owner
    connection.execute(update(permission).where(of_model, is_owner).values(role=Role.WRITER))
    promoted = update(permission).where(of_model, is_new).values(role=Role.OWNER)
    if connection.execute(promoted).rowcount == 0:
        row = PermissionRow(model, new_id, GranteeType.USER, email_address, Role.OWNER)
        insert(connection, row)


def roles(connection: Connection, model: str, grantees: Sequence[str]) -> frozenset[str]:
    """The roles that any of the grantees holds; empty when the model is hidden from all of them."""
    asked = select(permission.c.role).where(
        permission.c.model == model, permission.c.grantee.in_(grantees)
    )
    return frozenset(connection.scalars(asked))


def _is(model: str, permission_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return permission.c.model == model, permission.c.id == permission_id
