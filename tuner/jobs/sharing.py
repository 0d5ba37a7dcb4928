"""The steps that give a tuned model away: permissions, then ownership.

Both ask who has what before they change anything, and say why they may before each change.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.errors import AlreadyExists, NotAllowed, RequestRefused, TunerError
from tuner.events import effects
from tuner.types import Permission, Phase, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.events.events import Event, Tell
    from tuner.job import Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.targets import Target
    from tuner.types import Grant, GranteeType


async def share(job: Job, work: PreparedJob, target: Target, tell: Tell) -> Job:
    """Grant what the spec asks for and is not there yet, and look whether it is there then.

    Raises:
        TunerError: The service does not list what it has just granted.
    """
    held = _by_grantee(await target.permissions(job.tuned_model))
    changed = False
    for grant in work.spec.grants:
        told = await _ensure(grant, held.get(grant.grantee), job, target, tell)
        tell(told)
        changed = changed or effects.is_change(told)
    if changed:
        held = _by_grantee(await target.permissions(job.tuned_model))
    _compare(held, job, work, tell)
    return replace(job, phase=Phase.TRANSFER)


async def _ensure(
    grant: Grant, held: Permission | None, job: Job, target: Target, tell: Tell
) -> Event:
    """Make ``grant`` true, and say how it became so. An owner has every right: nothing is changed."""
    if held is None:
        tell(effects.Changing(job, "grant", str(grant), job.allowed))
        try:
            await target.grant(job.tuned_model, grant)
        except AlreadyExists:
            held = _by_grantee(await target.permissions(job.tuned_model)).get(grant.grantee)
            if held is None:
                raise
        else:
            return effects.Granted(job, str(grant))
    if held.grant.role in (grant.role, Role.OWNER):
        return effects.AlreadyGranted(job, str(grant))
    tell(effects.Changing(job, "change_role", str(grant), job.allowed))
    await target.change_role(held.name, grant.role)
    return effects.RoleChanged(job, str(grant))


def _compare(
    held: dict[tuple[GranteeType, str], Permission], job: Job, work: PreparedJob, tell: Tell
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
            tell(effects.Stranger(job, str(permission.grant)))


async def transfer(job: Job, work: PreparedJob, target: Target, tell: Tell) -> Job:
    """Hand the model over to whom the spec names, unless it is theirs.

    Raises:
        TunerError: The service names another owner than the one it has just accepted.
    """
    heir = work.spec.transfer_ownership
    if not heir:
        return replace(job, phase=Phase.DONE)
    if await _owner(job, target) == heir.casefold():
        tell(effects.AlreadyTransferred(job, heir))
        return replace(job, phase=Phase.DONE, handed_to=heir)
    tell(effects.Changing(job, "transfer", f"{job.tuned_model} to {heir}", job.allowed))
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
    tell(effects.Transferred(job, heir))
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
