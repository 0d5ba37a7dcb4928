"""Who may do what with a tuned model, as rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from tuner.server.store.tables import model as tuned_model
from tuner.server.store.tables import permission
from tuner.types import Role

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


class ModelGone(Exception):
    """The model was deleted, while somebody was about to share it."""


_COLUMNS = [permission.c[name] for name in PermissionRow.__dataclass_fields__]


def grantee(grantee_type: str, email_address: str) -> str:
    """Who a permission is for, comparable."""
    return f"{grantee_type}:{email_address.casefold()}"


def insert(connection: Connection, row: PermissionRow) -> None:
    """Add a permission. Raises ModelGone, GranteeTaken."""
    of_model = select(tuned_model.c.position).where(tuned_model.c.name == row.model)
    if connection.execute(of_model).first() is None:
        raise ModelGone
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


def transfer(connection: Connection, heir: PermissionRow, by: Sequence[str]) -> bool:
    """Make somebody the owner and the old owner, who is one of ``by``, a writer.

    Nothing changes when they are the same. False: none of ``by`` is the owner.
    """
    of_model, is_owner = permission.c.model == heir.model, permission.c.role == Role.OWNER
    demoted = update(permission).where(of_model, is_owner, permission.c.grantee.in_(by))
    if connection.execute(demoted.values(role=Role.WRITER)).rowcount == 0:
        return False
    promoted = update(permission).where(of_model, permission.c.grantee == heir.grantee)
    if connection.execute(promoted.values(role=Role.OWNER)).rowcount == 0:
        insert(connection, heir)
    return True


def roles(connection: Connection, model: str, grantees: Sequence[str]) -> frozenset[str]:
    """The roles that any of the grantees holds; empty when the model is hidden from all of them."""
    asked = select(permission.c.role).where(
        permission.c.model == model, permission.c.grantee.in_(grantees)
    )
    return frozenset(connection.scalars(asked))


def _is(model: str, permission_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return permission.c.model == model, permission.c.id == permission_id
