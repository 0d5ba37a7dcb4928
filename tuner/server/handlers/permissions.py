"""Handlers for who may do what with a tuned model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner import names
from tuner.server import messages
from tuner.server.access import is_email
from tuner.server.api_errors import (
    ApiError,
    Code,
    Violation,
    hidden,
    invalid,
    invalid_field,
    not_found,
)
from tuner.server.handlers import pages, shapes
from tuner.server.handlers.creation import random_id
from tuner.server.store import permissions
from tuner.server.store.permissions import PermissionRow
from tuner.types import GranteeType, Role

if TYPE_CHECKING:
    from tuner.server.access import Caller
    from tuner.server.messages import Message
    from tuner.server.service import Service

PAGE_SIZE = 10
_GRANTABLE = "READER or WRITER; the owner changes by TransferOwnership only"


async def create_permission(service: Service, _caller: Caller, request: Message) -> Message:
    """CreatePermission: one a grantee, never for an OWNER."""
    asked = request.permission
    kind = _grantee_type(asked)
    wrong = [*_grantee_problems(asked, kind), *_role_problems(asked)]
    if wrong:
        raise invalid(wrong)
    role = Role(_enum_name(asked, "role"))
    row = PermissionRow(request.parent, random_id(16), kind, asked.email_address, role)
    try:
        await service.store.write(permissions.insert, row)
    except permissions.GranteeExists as error:
        who = asked.email_address or "everyone"
        text = (
            f"{who} has a permission for {request.parent}; change its role with UpdatePermission."
        )
        raise ApiError(Code.ALREADY_EXISTS, text, "GRANTEE_TAKEN") from error
    except permissions.ModelNotFound as error:
        raise hidden(request.parent) from error
    return shapes.permission(row)


async def get_permission(service: Service, _caller: Caller, request: Message) -> Message:
    """GetPermission."""
    found = await service.store.read(permissions.find, *_split(request.name, "name"))
    if found is None:
        raise not_found(request.name)
    return shapes.permission(found)


async def list_permissions(service: Service, caller: Caller, request: Message) -> Message:
    """ListPermissions, the oldest first; the owner's is among them."""
    page = pages.asked(request, caller, PAGE_SIZE, request.parent)
    found = await service.store.read(permissions.page, request.parent, page.position, page.size + 1)
    shown, token = page.shown([(position, shapes.permission(row)) for position, row in found])
    return messages.ListPermissionsResponse(permissions=shown, next_page_token=token)


async def update_permission(service: Service, _caller: Caller, request: Message) -> Message:
    """UpdatePermission: changes the role and nothing else."""
    asked = request.permission
    model, permission_id = _split(asked.name, "permission.name")
    paths = [path for path in request.update_mask.paths if path not in {"role", "*"}]
    wrong = [Violation(f"permission.{path}", "only role can be changed") for path in paths]
    wrong += _role_problems(asked)
    if wrong:
        raise invalid(wrong)
    role = Role(_enum_name(asked, "role"))
    row = await service.store.write(permissions.update_role, model, permission_id, role)
    if row is None:
        raise not_found(asked.name)
    if row.role == Role.OWNER:
        raise _owner_stays(asked.name)
    return shapes.permission(row)


async def delete_permission(service: Service, _caller: Caller, request: Message) -> Message:
    """DeletePermission: anybody's but the owner's."""
    key = _split(request.name, "name")
    if not await service.store.write(permissions.delete, *key):
        found = await service.store.read(permissions.find, *key)
        raise _owner_stays(request.name) if found else not_found(request.name)
    return messages.Empty()


async def transfer_ownership(service: Service, caller: Caller, request: Message) -> Message:
    """TransferOwnership: the old owner becomes a writer; to oneself it changes nothing."""
    name, email = request.name, request.email_address
    if not is_email(email):
        raise invalid_field("email_address", f"{email!r} is not an e-mail address")
    if await service.store.read(permissions.has_group, email):
        raise invalid_field("email_address", f"{email} is a group; a model is owned by a person")
    heir = PermissionRow(name, random_id(16), GranteeType.USER, email, Role.OWNER)
    if not await service.store.write(permissions.transfer, heir, caller.own_grantees):
        raise hidden(name)  # since it was checked, somebody deleted it or handed it over
    return messages.TransferOwnershipResponse()


def _split(name: str, field: str) -> tuple[str, str]:
    parent = names.permission_parent(name)
    if parent is None:
        raise invalid_field(field, f"{name!r} is not of the form tunedModels/ID/permissions/ID")
    return parent, name.rpartition("/")[2]


def _enum_name(message: Message, field: str) -> str:
    number = getattr(message, field)
    values = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number
    return str(values[number].name) if number in values else str(number)


def _grantee_type(asked: Message) -> str:
    named = _enum_name(asked, "grantee_type")
    is_open = named == "GRANTEE_TYPE_UNSPECIFIED" and asked.email_address
    return GranteeType.USER if is_open else named


def _grantee_problems(asked: Message, kind: str) -> list[Violation]:
    if kind not in set(GranteeType):
        return [Violation("permission.grantee_type", "must be USER, GROUP or EVERYONE")]
    if kind == GranteeType.EVERYONE:
        is_right, what = not asked.email_address, "EVERYONE has no e-mail address"
    else:
        is_right = is_email(asked.email_address)
        what = f"{kind} needs an e-mail address, not {asked.email_address!r}"
    return [] if is_right else [Violation("permission.email_address", what)]


def _role_problems(asked: Message) -> list[Violation]:
    is_right = _enum_name(asked, "role") in {Role.READER, Role.WRITER}
    return [] if is_right else [Violation("permission.role", f"must be {_GRANTABLE}")]


def _owner_stays(name: str) -> ApiError:
    text = f"{name} is the owner's: the owner changes by TransferOwnership only."
    return ApiError(Code.FAILED_PRECONDITION, text, "OWNER_STAYS")
