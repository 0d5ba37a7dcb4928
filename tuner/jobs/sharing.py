"""Apply permissions and transfer ownership.

Both steps read the permissions before they change any, and emit each change before they make it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.errors import AlreadyExists, NotAllowed, RequestRefused, TunerError
from tuner.events.events import Event, EventKind
from tuner.types import Permission, Phase, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.events.events import EventHandler
    from tuner.job import Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.targets import Target
    from tuner.types import Grant, GranteeType


async def share(job: Job, work: PreparedJob, target: Target, emit: EventHandler) -> Job:
    """Apply the spec's grants that are missing, then check that all of them exist.

    Raises:
        TunerError: The service does not list what it has just granted.
    """
    held = _by_grantee(await target.permissions(job.tuned_model))
    changed = False
    for grant in work.spec.grants:
        event = await _ensure(grant, held.get(grant.grantee), job, target, emit)
        emit(event)
        changed = changed or event.is_change
    if changed:
        held = _by_grantee(await target.permissions(job.tuned_model))
    _compare(held, job, work, emit)
    return replace(job, phase=Phase.TRANSFER)


async def _ensure(
    grant: Grant, held: Permission | None, job: Job, target: Target, emit: EventHandler
) -> Event:
    """Apply one grant and return the event; an owner has all rights and is not changed."""
    if held is None:
        emit(Event(EventKind.CHANGING, job, action="grant", what=str(grant), why=job.allowed))
        try:
            await target.grant(job.tuned_model, grant)
        except AlreadyExists:
            held = _by_grantee(await target.permissions(job.tuned_model)).get(grant.grantee)
            if held is None:
                raise
        else:
            return Event(EventKind.GRANTED, job, grant=str(grant))
    if held.grant.role in (grant.role, Role.OWNER):
        return Event(EventKind.ALREADY_GRANTED, job, grant=str(grant))
    emit(Event(EventKind.CHANGING, job, action="change_role", what=str(grant), why=job.allowed))
    await target.change_role(held.name, grant.role)
    return Event(EventKind.ROLE_CHANGED, job, grant=str(grant))


def _compare(
    held: dict[tuple[GranteeType, str], Permission], job: Job, work: PreparedJob, emit: EventHandler
) -> None:
    for grant in work.spec.grants:
        permission = held.pop(grant.grantee, None)
        if permission is None or permission.grant.role not in (grant.role, Role.OWNER):
            raise TunerError(
                f"{grant} was granted on {job.tuned_model}, but the service does not list it",
                "permissions may be changed elsewhere at the same time: run it again",
            )
    for permission in held.values():
        if permission.grant.role is not Role.OWNER:
            emit(Event(EventKind.UNEXPECTED_PERMISSION, job, grant=str(permission.grant)))


async def transfer(job: Job, work: PreparedJob, target: Target, emit: EventHandler) -> Job:
    """Transfer the model to the spec's new owner, unless they own it already.

    Raises:
        TunerError: After the transfer, the service names another owner.
    """
    new_owner = work.spec.transfer_ownership
    if not new_owner:
        return replace(job, phase=Phase.DONE)
    if await _owner(job, target) == new_owner.casefold():
        emit(Event(EventKind.ALREADY_TRANSFERRED, job, owner=new_owner))
        return replace(job, phase=Phase.DONE, handed_to=new_owner)
    emit(
        Event(
            EventKind.CHANGING,
            job,
            action="transfer",
            what=f"{job.tuned_model} to {new_owner}",
            why=job.allowed,
        )
    )
    try:
        await target.transfer(job.tuned_model, new_owner)
    except (NotAllowed, RequestRefused):  # another run may have transferred it at the same time
        if await _owner(job, target) != new_owner.casefold():
            raise
    if await _owner(job, target) != new_owner.casefold():
        raise TunerError(
            f"{job.tuned_model} was transferred to {new_owner}, but the service names another owner",
            "check `tuner permissions list`, then run it again",
        )
    emit(Event(EventKind.TRANSFERRED, job, owner=new_owner))
    return replace(job, phase=Phase.DONE, handed_to=new_owner)


async def final_permissions(job: Job, target: Target) -> tuple[Permission, ...]:
    """Return the final permissions; empty if only the new owner may list them."""
    try:
        return tuple(await target.permissions(job.tuned_model))
    except (NotAllowed, RequestRefused):
        return ()


async def _owner(job: Job, target: Target) -> str:
    """The owner's e-mail address in lower case; empty if the service does not list it."""
    held = await target.permissions(job.tuned_model)
    owners = [p.grant.email_address for p in held if p.grant.role is Role.OWNER]
    return owners[0].casefold() if owners else ""


def _by_grantee(held: Sequence[Permission]) -> dict[tuple[GranteeType, str], Permission]:
    return {permission.grant.grantee: permission for permission in held}
