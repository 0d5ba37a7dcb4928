"""One job, one step at a time."""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.errors import AlreadyExists, NotAllowed, NotFound, RequestRefused
from tuner.evaluation import gate
from tuner.evaluation.answering import EMPTY_CACHE
from tuner.events.events import Event, EventKind
from tuner.jobs.sharing import share, transfer
from tuner.jobspec.prepared_job import content_id, new_tuned_model
from tuner.types import Phase, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.evaluation.answering import AnswerCache
    from tuner.events.events import EventHandler
    from tuner.job import Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.jobspec.schema import EarlyStopping
    from tuner.targets import Target
    from tuner.types import Operation, Snapshot, TunedModel


async def advance(
    job: Job,
    work: PreparedJob,
    target: Target,
    tell: EventHandler,
    answers: AnswerCache = EMPTY_CACHE,
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
            return await poll(job, target, tell, work)
        case Phase.EVALUATE:
            return await _evaluate(job, work, target, tell, answers)
        case Phase.SHARE | Phase.TRANSFER:
            return await _apply_permissions(job, work, target, tell)
        case _:
            return job


async def _submit(job: Job, work: PreparedJob, target: Target, tell: EventHandler) -> Job:
    found = await _visible(job.tuned_model, target)
    if found is None and job.handed_to:
        raise NotAllowed(
            f"{job.tuned_model} was handed over to {job.handed_to}, and is hidden from you now",
            "ask the owner for access, or tune another one with `tuner run --new`",
        )
    if found is not None and found.state is State.FAILED and job.retry:
        _refuse_another(found, job, work)
        await _delete_failed(job, target, tell)
        found = None
    if found is None and others_content(job, work):
        return replace(job, content=content_id(work))  # written down before it is made
    if found is None and _had_a_model(job) and not job.retry:
        return _reset_for_retry(job)
    if found is None:
        created = await _create(job, work, target, tell)
        if created is not None:
            return created
        found = await target.tuned_model(job.tuned_model)
    _refuse_another(found, job, work)
    tell(Event(EventKind.ALREADY_EXISTED, job))
    if job.retry:  # killed right after the create: this is the new model already
        job = replace(job, retry=False, stopping="", operation="")
    if not gate.stands(job.evaluation, work, found):  # of another model that had this name
        job = replace(job, evaluation=None)
    return replace(job, phase=Phase.TUNE)


def _had_a_model(job: Job) -> bool:
    return bool(job.operation or job.completed_steps or job.evaluation)


def _reset_for_retry(job: Job) -> Job:
    """What is made in place of a model that is gone ends as another one, and is told of again."""
    job = replace(job, operation="", total_steps=0, completed_steps=0, mean_loss=None)
    return replace(job, attempt=job.attempt + 1, evaluation=None, allowed="", stopping="")


async def _delete_failed(job: Job, target: Target, tell: EventHandler) -> None:
    tell(Event(EventKind.RETRYING, job))
    why = "it failed and is tuned again"
    tell(Event(EventKind.CHANGING, job, action="delete", what=job.tuned_model, why=why))
    with suppress(NotFound):  # the reply to our own call was lost
        await target.delete(job.tuned_model)
    tell(Event(EventKind.DELETED, job, why=why))


async def _create(job: Job, work: PreparedJob, target: Target, tell: EventHandler) -> Job | None:
    """None when the model is there already: somebody was faster, or our own reply was lost."""
    new = replace(new_tuned_model(work), id=job.tuned_model.removeprefix("tunedModels/"))
    tell(Event(EventKind.CHANGING, job, action="create", what=job.tuned_model, why=""))
    try:
        operation = await target.create(new)
    except AlreadyExists:
        if await _visible(job.tuned_model, target) is None:
            raise
        return None
    tell(Event(EventKind.SUBMITTED, job, rows=len(new.examples)))
    job = replace(job, evaluation=None, allowed="")
    return replace(job, phase=Phase.TUNE, operation=operation.name, retry=False, stopping="")


async def _visible(name: str, target: Target) -> TunedModel | None:
    """The model, or None; a service may answer "not allowed" for what does not exist."""
    try:
        return await target.tuned_model(name)
    except (NotFound, NotAllowed):
        return None


def differences(found: TunedModel, work: PreparedJob) -> list[str]:
    """In what a model is not the one the spec asks for, as far as a service tells."""
    spec = work.spec
    asked, has = spec.hyperparameters, found.hyperparameters
    pairs = {
        "base_model": (spec.base_model, found.base_model),
        "tuned_model_source": (spec.tuned_model_source, found.tuned_model_source),
        "epoch_count": (asked.epoch_count, has.epoch_count),
        "batch_size": (asked.batch_size, has.batch_size),
        "learning_rate": (asked.learning_rate, has.learning_rate),
    }
    return [
        f"{key} is {there}, the spec says {here}"
        for key, (here, there) in pairs.items()
        if here and there and here != there
    ]


def _refuse_another(found: TunedModel, job: Job, work: PreparedJob) -> None:
    """Adopt only a model made from what the spec says."""
    if different := [*differences(found, work), *others_content(job, work)]:
        raise RequestRefused(
            f"{found.name} exists already and is another model: {'; '.join(different)}",
            "choose another tuned_model_id, or leave it out",
        )


def others_content(job: Job | None, work: PreparedJob) -> list[str]:
    """In words, that the ledger knows an id of one's own for a model of other examples."""
    if job is None or not work.spec.tuned_model_id or job.content == content_id(work):
        return []
    return ["it was tuned from other examples, as the ledger knows"]


async def poll(
    job: Job, target: Target, tell: EventHandler, work: PreparedJob | None = None
) -> Job:
    """See how the tuning goes; the phase after it is EVALUATE.

    Changes nothing, but for a ``work`` that asks for early stopping: a tuning that is to be
    stopped is returned with ``stopping`` set, and cancelled the next time it is looked at.
    """
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
    tell(Event(EventKind.PROGRESS, job, operation=operation))
    if not operation.done:
        return job if work is None else await _stop_early(job, work, operation, target, tell)
    if operation.cancelled and job.stopping:
        tell(Event(EventKind.ALREADY_CANCELLED, job))
    if operation.cancelled:
        return replace(job, phase=Phase.CANCELLED, error=_cancelled(job))
    if operation.error:
        return replace(job, phase=Phase.FAILED, error=operation.error)
    tell(Event(EventKind.TUNED, job))
    return replace(job, phase=Phase.EVALUATE, stopping="")


async def _stop_early(
    job: Job, work: PreparedJob, operation: Operation, target: Target, tell: EventHandler
) -> Job:
    if job.stopping and work.spec.early_stopping is None:
        return replace(job, stopping="")  # it was taken out of the spec before that was done
    if job.stopping and not operation.cancelled:
        tell(
            Event(EventKind.CHANGING, job, action="cancel", what=job.tuned_model, why=job.stopping)
        )
        await target.cancel(operation.name)
        tell(Event(EventKind.CANCELLING, job, why=job.stopping))
    if job.stopping:
        return job
    why = early_stop_reason(work.spec.early_stopping, operation)
    if why:
        tell(Event(EventKind.STOPPING, job, why=why))
    return replace(job, stopping=why)


def _cancelled(job: Job) -> str:
    return f"stopped early: {job.stopping}" if job.stopping else "the tuning was cancelled"


async def _operation(job: Job, target: Target) -> Operation | None:
    """The job's operation; an adopted model's latest; None when the service has forgotten it."""
    try:
        if job.operation:
            return await target.operation(job.operation)
        known = await target.operations(job.tuned_model)
    except RequestRefused:
        return None
    return known[0] if known else None


async def _by_state(job: Job, target: Target, tell: EventHandler) -> Job:
    """Without an operation the model's own state has to do."""
    match (await target.tuned_model(job.tuned_model)).state:
        case State.ACTIVE:
            tell(Event(EventKind.TUNED, job))
            return replace(job, phase=Phase.EVALUATE, operation="", stopping="")
        case State.FAILED if job.stopping:
            return replace(job, phase=Phase.CANCELLED, operation="", error=_cancelled(job))
        case State.FAILED:
            why = "the service lists the model as FAILED and no longer says why"
            return replace(job, phase=Phase.FAILED, operation="", error=why)
        case State.CREATING:
            return replace(job, operation="")


def needs_evaluation(job: Job, work: PreparedJob) -> bool:
    """Whether the held-out rows of a job are still to be answered and scored."""
    scored = job.evaluation
    return work.spec.evaluation is not None and not (scored and scored.digest == gate.digest(work))


async def _evaluate(
    job: Job, work: PreparedJob, target: Target, tell: EventHandler, answers: AnswerCache
) -> Job:
    asked = work.spec.evaluation
    if asked is None:
        return replace(job, phase=Phase.SHARE, allowed=gate.NO_GATE)
    evaluation, kept = job.evaluation, True
    if evaluation is None or needs_evaluation(job, work):
        evaluation, kept = await gate.evaluate(target, job, work, answers, tell), False
    job = replace(job, evaluation=evaluation)
    tell(Event(EventKind.EVALUATED, job, evaluation=evaluation, kept=kept))
    misses = "; ".join(gate.shortfalls(evaluation, asked))
    if not misses:
        allowed = gate.why(evaluation, asked)
        tell(Event(EventKind.ALLOWED, job, why=allowed))
        return replace(job, phase=Phase.SHARE, allowed=allowed)
    if kept and gate.was_forced(job.allowed, misses):
        return replace(job, phase=Phase.SHARE)
    if job.force:
        tell(Event(EventKind.FORCED, job, misses=misses))
        return replace(job, phase=Phase.SHARE, allowed=gate.forced(misses))
    return replace(job, phase=Phase.REJECTED, error=misses, allowed=gate.lapsed(job.allowed))


async def _apply_permissions(
    job: Job, work: PreparedJob, target: Target, tell: EventHandler
) -> Job:
    if not job.allowed:  # an older tuner wrote down how far it came, but not why it might
        return replace(job, phase=Phase.EVALUATE)
    step = share if job.phase is Phase.SHARE else transfer
    return await step(job, work, target, tell)


def early_stop_reason(asked: EarlyStopping | None, operation: Operation) -> str:
    """Why to cancel the tuning, for people; empty to let it go on.

    The loss at a step is the mean over ``asked.window_steps`` steps up to it. One that is not a
    number is no progress. Steps that were not reported count as time that passed.
    """
    if asked is None or operation.done:
        return ""
    best, best_step = math.inf, 0
    step = 0
    for step, loss in _losses(operation.snapshots, asked.window_steps):
        if loss < best - asked.min_delta or not best_step:
            best, best_step = (math.inf if math.isnan(loss) else loss), step
    if not best_step or step - best_step < asked.patience_steps:
        return ""
    if math.isinf(best):
        return f"the loss has not been a number for {step - best_step} steps"
    sunk = f"sunk below {best:.4g}" + (
        f" by more than {asked.min_delta:g}" if asked.min_delta else ""
    )
    return f"the loss has not {sunk} for {step - best_step} steps"


def _losses(snapshots: Sequence[Snapshot], window_steps: int) -> Iterator[tuple[int, float]]:
    """Step and mean loss, from the step on at which a whole window has passed."""
    window: deque[Snapshot] = deque()
    for each in snapshots:
        window.append(each)
        while window[0].step <= each.step - window_steps:
            window.popleft()
        if each.step >= window_steps:
            # a sum that is kept up rounds, and a loss that stands still would seem to sink
            yield each.step, math.fsum(one.mean_loss for one in window) / len(window)
