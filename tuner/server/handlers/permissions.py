"""The methods of PermissionService: who may do what with a tuned model."""

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
from tuner.server.handlers import converters
from tuner.server.handlers.converters import enum_name, random_id
from tuner.server.handlers.paging import parse_page
from tuner.server.store import permissions
from tuner.server.store.permissions import PermissionRow
from tuner.types import GranteeType, Role

if TYPE_CHECKING:
    from tuner.server.access import Caller
    from tuner.server.messages import Message
    from tuner.server.service import Service

PAGE_SIZE = 10


async def create_permission(service: Service, _caller: Caller, request: Message) -> Message:
    """Give a grantee, who has no permission yet, the role READER or WRITER."""
    wanted = request.permission
    kind = enum_name(wanted, "grantee_type")
    if kind == "GRANTEE_TYPE_UNSPECIFIED" and wanted.email_address:
        kind = GranteeType.USER
    wrong = [*_grantee_problems(wanted, kind), *_role_problems(wanted)]
    if wrong:
        raise invalid(wrong)
    role = Role(enum_name(wanted, "role"))
    row = PermissionRow(request.parent, random_id(16), kind, wanted.email_address, role)
    try:
        await service.store.write(permissions.insert, row)
    except permissions.GranteeExists as error:
        who = wanted.email_address or "everyone"
        fix = "change its role with UpdatePermission"
        text = f"{who} has a permission for {request.parent}; {fix}."
        raise ApiError(Code.ALREADY_EXISTS, text, "GRANTEE_TAKEN") from error
    except permissions.ModelNotFound as error:
        raise hidden(request.parent) from error
    return converters.permission(row)


async def get_permission(service: Service, _caller: Caller, request: Message) -> Message:
    """Return a permission."""
    found = await service.store.read(permissions.find, *_split(request.name, "name"))
    if found is None:
        raise not_found(request.name)
    return converters.permission(found)


async def list_permissions(service: Service, caller: Caller, request: Message) -> Message:
    """List the permissions for a model, the owner's included, oldest first."""
    page = parse_page(request, caller, PAGE_SIZE, request.parent)
    found = await service.store.read(permissions.page, request.parent, page.position, page.size + 1)
    listed, token = page.cut([(position, converters.permission(row)) for position, row in found])
    return messages.ListPermissionsResponse(permissions=listed, next_page_token=token)


async def update_permission(service: Service, _caller: Caller, request: Message) -> Message:
    """Change the role of a permission that is not the owner's."""
    wanted = request.permission
    model, permission_id = _split(wanted.name, "permission.name")
    paths = [path for path in request.update_mask.paths if path not in {"role", "*"}]
    wrong = [Violation(f"permission.{path}", "only role can be changed") for path in paths]
    wrong += _role_problems(wanted)
    if wrong:
        raise invalid(wrong)
    role = Role(enum_name(wanted, "role"))
    row = await service.store.write(permissions.update_role, model, permission_id, role)
    if row is None:
        raise not_found(wanted.name)
    if row.role == Role.OWNER:
        raise _owners_permission(wanted.name)
    return converters.permission(row)


async def delete_permission(service: Service, _caller: Caller, request: Message) -> Message:
    """Delete a permission that is not the owner's."""
    key = _split(request.name, "name")
    if not await service.store.write(permissions.delete, *key):
        found = await service.store.read(permissions.find, *key)
        raise _owners_permission(request.name) if found else not_found(request.name)
    return messages.Empty()


async def transfer_ownership(service: Service, caller: Caller, request: Message) -> Message:
    """Make another person the owner and the old owner a writer."""
    name, email = request.name, request.email_address
    if not is_email(email):
        raise invalid_field("email_address", f"{email!r} is not an e-mail address")
    if await service.store.read(permissions.has_group, email):
        raise invalid_field("email_address", f"{email} is a group; the owner must be a person")
    new_owner = PermissionRow(name, random_id(16), GranteeType.USER, email, Role.OWNER)
    if not await service.store.write(permissions.transfer, new_owner, caller.own_grantees):
        raise hidden(name)  # deleted or transferred since the caller's role was checked
    return messages.TransferOwnershipResponse()


def _split(name: str, field: str) -> tuple[str, str]:
    parent = names.permission_parent(name)
    if parent is None:
        raise invalid_field(field, f"{name!r} is not of the form tunedModels/ID/permissions/ID")
    return parent, name.rpartition("/")[2]


def _grantee_problems(wanted: Message, kind: str) -> list[Violation]:
    if kind not in set(GranteeType):
        return [Violation("permission.grantee_type", "must be USER, GROUP or EVERYONE")]
    if kind == GranteeType.EVERYONE:
        is_valid, what = not wanted.email_address, "EVERYONE has no e-mail address"
    else:
        is_valid = is_email(wanted.email_address)
        what = f"{kind} needs an e-mail address, not {wanted.email_address!r}"
    return [] if is_valid else [Violation("permission.email_address", what)]


def _role_problems(wanted: Message) -> list[Violation]:
    if enum_name(wanted, "role") in {Role.READER, Role.WRITER}:
        return []
    what = "must be READER or WRITER; only TransferOwnership changes the owner"
    return [Violation("permission.role", what)]


def _owners_permission(name: str) -> ApiError:
    text = f"{name} is the owner's: only TransferOwnership changes the owner."
    return ApiError(Code.FAILED_PRECONDITION, text, "OWNER_STAYS")
