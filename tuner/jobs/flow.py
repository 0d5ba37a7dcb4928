"""One job, one step at a time.

``advance`` asks the service what is already true before it changes anything, so that doing a step
twice equals doing it once. That is the whole of tuner's crash safety: the ledger is a bookmark.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.errors import AlreadyExists, NotAllowed, NotFound, RequestRefused, TunerError
from tuner.jobs import events, gate
from tuner.jobs.answers import NOTHING_KEPT
from tuner.jobs.work import new_tuned_model
from tuner.types import Permission, Phase, Role, State, TunedModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.jobs.answers import Answers
    from tuner.jobs.events import Tell
    from tuner.jobs.job import Job
    from tuner.jobs.work import Work
    from tuner.targets import Target
    from tuner.types import Grant, GranteeType, Operation


async def advance(
    job: Job, work: Work, target: Target, tell: Tell, answers: Answers = NOTHING_KEPT
) -> Job:
    """Do the next step of ``job`` and return the job after it.

    Returns an equal job when there is nothing to do yet (still tuning) or ever (an end phase); the
    caller decides how long to wait, and commits what is returned before it calls again.

    Raises:
        NotAllowed, RequestRefused, Unavailable: The service refuses or is away; the job stands
            where it stood and may be advanced again.
    """
    match job.phase:
        case Phase.SUBMIT:
            return await _submit(job, work, target, tell)
        case Phase.TUNE:
            return await look(job, target, tell)
        case Phase.EVALUATE:
            return await _evaluate(job, work, target, tell, answers)
        case Phase.SHARE:
            return await _share(job, work, target, tell)
        case Phase.TRANSFER:
            return await _transfer(job, work, target, tell)
        case _:
            return job


async def _submit(job: Job, work: Work, target: Target, tell: Tell) -> Job:
    found = await _visible(job.tuned_model, target)
    if found is None and job.handed_to:
        raise NotAllowed(
            f"{job.tuned_model} was handed over to {job.handed_to}, and is hidden from you now",
            "ask the owner for access, or tune another one with `tuner run --new`",
        )
    if found is None:
        new = replace(new_tuned_model(work), id=job.tuned_model.removeprefix("tunedModels/"))
        try:
            operation = await target.create(new)
        except AlreadyExists:  # somebody was faster, or the reply to our own call was lost
            found = await _visible(job.tuned_model, target)
            if found is None:
                raise
        else:
            tell(events.Submitted(job, len(new.examples)))
            return replace(job, phase=Phase.TUNE, operation=operation.name)
    _refuse_another(found, work)
    tell(events.Adopted(job))
    return replace(job, phase=Phase.TUNE)


async def _visible(name: str, target: Target) -> TunedModel | None:
    """The model, or None; a service may answer "not allowed" for what does not exist."""
    try:
        return await target.tuned_model(name)
    except (NotFound, NotAllowed):
        return None


def _refuse_another(found: TunedModel, work: Work) -> None:
    """Adopt only a model made from what the spec says, as far as a service tells."""
    if different := differences(found, work):
        raise RequestRefused(
            f"{found.name} exists already and is another model: {'; '.join(different)}",
            "choose another tuned_model_id, or leave it out",
        )


def differences(found: TunedModel, work: Work) -> list[str]:
    """In what a model is another one than the spec asks for, in words, as far as a service tells."""
    spec, has = work.spec, found.hyperparameters
    pairs = {
        "base_model": (spec.base_model, found.base_model),
        "tuned_model_source": (spec.tuned_model_source, found.tuned_model_source),
        "epoch_count": (spec.hyperparameters.epoch_count, has.epoch_count),
        "batch_size": (spec.hyperparameters.batch_size, has.batch_size),
        "learning_rate": (spec.hyperparameters.learning_rate, has.learning_rate),
    }
    return [
        f"{key} is {there}, the spec says {here}"
        for key, (here, there) in pairs.items()
        if here and there and here != there
    ]


async def look(job: Job, target: Target, tell: Tell) -> Job:
    """See how the tuning goes; changes nothing. The phase after it is EVALUATE."""
    operation = await _operation(job, target)
    if operation is None:
        return await _by_state(job, target, tell)
    job = replace(
        job,
        operation=operation.name,
        total_steps=operation.total_steps,
        completed_steps=operation.completed_steps,
        mean_loss=operation.snapshots[-1].mean_loss if operation.snapshots else None,
    )
    tell(events.Progress(job, operation))
    if not operation.done:
        return job
    if operation.cancelled:
        return replace(job, phase=Phase.CANCELLED, error="the tuning was cancelled")
    if operation.error:
        return replace(job, phase=Phase.FAILED, error=operation.error)
    tell(events.Tuned(job))
    return replace(job, phase=Phase.EVALUATE)


async def _operation(job: Job, target: Target) -> Operation | None:
    """The job's operation; an adopted model's latest; None when the service has forgotten it."""
    try:
        if job.operation:
            return await target.operation(job.operation)
        known = await target.operations(job.tuned_model)
    except RequestRefused:
        return None
    return known[0] if known else None


async def _by_state(job: Job, target: Target, tell: Tell) -> Job:
    """Without an operation the model's own state has to do."""
    match (await target.tuned_model(job.tuned_model)).state:
        case State.ACTIVE:
            tell(events.Tuned(job))
            return replace(job, phase=Phase.EVALUATE, operation="")
        case State.FAILED:
            why = "the service lists the model as FAILED and no longer says why"
            return replace(job, phase=Phase.FAILED, operation="", error=why)
        case State.CREATING:
            return replace(job, operation="")


async def _evaluate(job: Job, work: Work, target: Target, tell: Tell, answers: Answers) -> Job:
    asked = work.spec.evaluation
    if asked is None:
        return replace(job, phase=Phase.SHARE, allowed=gate.NO_GATE)
    evaluation, kept = job.evaluation, True
    if evaluation is None or evaluation.digest != gate.digest(work):
        evaluation, kept = await gate.evaluate(target, job, work, answers, tell), False
    job = replace(job, evaluation=evaluation)
    tell(events.Evaluated(job, evaluation, kept))
    misses = "; ".join(gate.shortfalls(evaluation, asked))
    if not misses:
        allowed = gate.why(evaluation, asked)
        tell(events.Allowed(job, allowed))
        return replace(job, phase=Phase.SHARE, allowed=allowed)
    if kept and gate.was_forced(job.allowed, misses):
        return replace(job, phase=Phase.SHARE)
    if job.force:
        tell(events.Forced(job, misses))
        return replace(job, phase=Phase.SHARE, allowed=gate.forced(misses))
    return replace(job, phase=Phase.REJECTED, error=misses, allowed="")


async def _share(job: Job, work: Work, target: Target, tell: Tell) -> Job:
    held = _by_grantee(await target.permissions(job.tuned_model))
    for grant in work.spec.grants:
        if await _ensure(grant, held.get(grant.grantee), job, target):
            tell(events.Granted(job, str(grant)))
        else:
            tell(events.AlreadyGranted(job, str(grant)))
    await _read_back(job, work, target, tell)
    return replace(job, phase=Phase.TRANSFER)


async def _ensure(grant: Grant, held: Permission | None, job: Job, target: Target) -> bool:
    """Make ``grant`` true; False when it was. An owner has every right, so nothing is changed."""
    if held is None:
        try:
            await target.grant(job.tuned_model, grant)
        except AlreadyExists:
            held = _by_grantee(await target.permissions(job.tuned_model)).get(grant.grantee)
            if held is None:
                raise
        else:
            return True
    if held.grant.role in (grant.role, Role.OWNER):
        return False
    await target.change_role(held.name, grant.role)
    return True


async def _read_back(job: Job, work: Work, target: Target, tell: Tell) -> None:
    held = _by_grantee(await target.permissions(job.tuned_model))
    for grant in work.spec.grants:
        permission = held.pop(grant.grantee, None)
        if permission is None or permission.grant.role not in (grant.role, Role.OWNER):
            raise TunerError(
                f"{grant} was granted on {job.tuned_model}, but the service does not list it",
                "somebody may be changing permissions at the same time: run it again",
            )
    for permission in held.values():
        if permission.grant.role is not Role.OWNER:
            tell(events.Stranger(job, str(permission.grant)))


async def _transfer(job: Job, work: Work, target: Target, tell: Tell) -> Job:
    heir = work.spec.transfer_ownership
    if not heir:
        return replace(job, phase=Phase.DONE)
    if await _owner(job, target) == heir.casefold():
        tell(events.AlreadyTransferred(job, heir))
        return replace(job, phase=Phase.DONE, handed_to=heir)
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
    tell(events.Transferred(job, heir))
    return replace(job, phase=Phase.DONE, handed_to=heir)


async def _owner(job: Job, target: Target) -> str:
    """The owner's address in lower case, empty when the service does not say."""
    held = await target.permissions(job.tuned_model)
    owners = [p.grant.email_address for p in held if p.grant.role is Role.OWNER]
    return owners[0].casefold() if owners else ""


def _by_grantee(held: Sequence[Permission]) -> dict[tuple[GranteeType, str], Permission]:
    return {permission.grant.grantee: permission for permission in held}
