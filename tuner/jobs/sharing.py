"""The steps that give a tuned model away: permissions, then ownership.

Both ask who has what before they change anything, and say why they may before each change.
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


async def share(job: Job, work: PreparedJob, target: Target, tell: EventHandler) -> Job:
    """Grant what the spec asks for and is not there yet, and look whether it is there then.

    Raises:
        TunerError: The service does not list what it has just granted.
    """
    held = _by_grantee(await target.permissions(job.tuned_model))
    changed = False
    for grant in work.spec.grants:
        told = await _ensure(grant, held.get(grant.grantee), job, target, tell)
        tell(told)
        changed = changed or told.is_change
    if changed:
        held = _by_grantee(await target.permissions(job.tuned_model))
    _compare(held, job, work, tell)
    return replace(job, phase=Phase.TRANSFER)


async def _ensure(
    grant: Grant, held: Permission | None, job: Job, target: Target, tell: EventHandler
) -> Event:
    """Make ``grant`` true, and say how it became so. An owner has every right: nothing is changed."""
    if held is None:
        tell(Event(EventKind.CHANGING, job, action="grant", what=str(grant), why=job.allowed))
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
    tell(Event(EventKind.CHANGING, job, action="change_role", what=str(grant), why=job.allowed))
    await target.change_role(held.name, grant.role)
    return Event(EventKind.ROLE_CHANGED, job, grant=str(grant))


def _compare(
    held: dict[tuple[GranteeType, str], Permission], job: Job, work: PreparedJob, tell: EventHandler
) -> None:
    for grant in work.spec.grants:
        permission = held.pop(grant.grantee, None)
        if permission is None or permission.grant.role not in (grant.role, Role.OWNER):
            raise TunerError(
                f"{grant} was granted on {job.tuned_model}, but the service does not list it",
                "somebody may be changing permissions at the same time: run it again",
            )
    for permission in held.values():
        if permission.grant.role is not Role.OWNER:
            tell(Event(EventKind.UNEXPECTED_PERMISSION, job, grant=str(permission.grant)))


async def transfer(job: Job, work: PreparedJob, target: Target, tell: EventHandler) -> Job:
    """Hand the model over to whom the spec names, unless it is theirs.

    Raises:
        TunerError: The service names another owner than the one it has just accepted.
    """
    heir = work.spec.transfer_ownership
    if not heir:
        return replace(job, phase=Phase.DONE)
    if await _owner(job, target) == heir.casefold():
        tell(Event(EventKind.ALREADY_TRANSFERRED, job, owner=heir))
        return replace(job, phase=Phase.DONE, handed_to=heir)
    tell(
        Event(
            EventKind.CHANGING,
            job,
            action="transfer",
            what=f"{job.tuned_model} to {heir}",
            why=job.allowed,
        )
    )
    try:
        await target.transfer(job.tuned_model, heir)
    except (NotAllowed, RequestRefused):  # two of us at once: the slower one is a writer by now
        if await _owner(job, target) != heir.casefold():
            raise
    if await _owner(job, target) != heir.casefold():
        raise TunerError(
            f"{job.tuned_model} was transferred to {heir}, but the service names another owner",
            "look with `tuner permissions list`, then run it again",
        )
    tell(Event(EventKind.TRANSFERRED, job, owner=heir))
    return replace(job, phase=Phase.DONE, handed_to=heir)


async def listed(job: Job, target: Target) -> tuple[Permission, ...]:
    """Who has access, in the end; after a transfer the service may show that to the owner only."""
    try:
        return tuple(await target.permissions(job.tuned_model))
    except (NotAllowed, RequestRefused):
        return ()


async def _owner(job: Job, target: Target) -> str:
    """The owner's address in lower case, empty when the service does not say."""
    held = await target.permissions(job.tuned_model)
    owners = [p.grant.email_address for p in held if p.grant.role is Role.OWNER]
    return owners[0].casefold() if owners else ""


def _by_grantee(held: Sequence[Permission]) -> dict[tuple[GranteeType, str], Permission]:
    return {permission.grant.grantee: permission for permission in held}
