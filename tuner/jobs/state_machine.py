"""The steps of a job: each reads the service's state before it changes anything, so it can be repeated."""

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
from tuner.jobs.audit_log import user_at_host
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
    emit: EventHandler,
    answers: AnswerCache = EMPTY_CACHE,
) -> Job:
    """Do the next step of ``job`` and return the job after it.

    Returns an equal job if there is nothing to do now (still tuning) or at all (ended). The caller waits
    between calls, and saves the returned job before the next call.

    Raises:
        NotAllowed, RequestRefused, Unavailable: From the service; the step can be repeated.
    """
    match job.phase:
        case Phase.SUBMIT:
            return await _submit(job, work, target, emit)
        case Phase.TUNE:
            return await poll(job, target, emit, work)
        case Phase.EVALUATE:
            return await _evaluate(job, work, target, emit, answers)
        case Phase.SHARE | Phase.TRANSFER:
            return await _apply_permissions(job, work, target, emit)
        case _:
            return job


async def _submit(job: Job, work: PreparedJob, target: Target, emit: EventHandler) -> Job:
    found = await _find_model(job.tuned_model, target)
    if found is None and job.handed_to:
        raise NotAllowed(
            f"{job.tuned_model} was transferred to {job.handed_to} and is hidden from you now",
            "ask the owner for access, or tune another model with `tuner run --new`",
        )
    if found is not None and found.state is State.FAILED and job.retry:
        _check_same(found, job, work)
        await _delete_failed(job, target, emit)
        found = None
    if found is None and content_difference(job, work):
        return replace(
            job, content=content_id(work)
        )  # saved before the call that creates the model
    if found is None and _had_a_model(job) and not job.retry:
        return _reset_for_retry(job)
    if found is None:
        created = await _create(job, work, target, emit)
        if created is not None:
            return created
        found = await target.tuned_model(job.tuned_model)
    _check_same(found, job, work)
    emit(Event(EventKind.ALREADY_EXISTED, job))
    if job.retry:  # the process was killed right after the create: this is the new model
        job = replace(job, retry=False, stopping="", operation="")
    if not gate.is_current(job.evaluation, work, found):  # of an earlier model with this name
        job = replace(job, evaluation=None)
    return replace(job, phase=Phase.TUNE)


def _had_a_model(job: Job) -> bool:
    return bool(job.operation or job.completed_steps or job.evaluation)


def _reset_for_retry(job: Job) -> Job:
    """Reset a job whose model was deleted; its end will be notified again."""
    job = replace(job, operation="", total_steps=0, completed_steps=0, mean_loss=None)
    return replace(job, attempt=job.attempt + 1, evaluation=None, allowed="", stopping="")


async def _delete_failed(job: Job, target: Target, emit: EventHandler) -> None:
    emit(Event(EventKind.RETRYING, job))
    why = "it failed and is tuned again"
    emit(Event(EventKind.CHANGING, job, action="delete", what=job.tuned_model, why=why))
    with suppress(NotFound):  # deleted by an earlier call whose response was lost
        await target.delete(job.tuned_model)
    emit(Event(EventKind.DELETED, job, why=why))


async def _create(job: Job, work: PreparedJob, target: Target, emit: EventHandler) -> Job | None:
    """Create the model; return None if it exists (concurrent create, or a lost response)."""
    new = replace(new_tuned_model(work), id=job.tuned_model.removeprefix("tunedModels/"))
    emit(Event(EventKind.CHANGING, job, action="create", what=job.tuned_model, why=""))
    try:
        operation = await target.create(new)
    except AlreadyExists:
        if await _find_model(job.tuned_model, target) is None:
            raise
        return None
    emit(Event(EventKind.SUBMITTED, job, rows=len(new.examples)))
    job = replace(job, evaluation=None, allowed="")
    return replace(job, phase=Phase.TUNE, operation=operation.name, retry=False, stopping="")


async def _find_model(name: str, target: Target) -> TunedModel | None:
    """Return the model or None; a service may answer "not allowed" for a missing model."""
    try:
        return await target.tuned_model(name)
    except (NotFound, NotAllowed):
        return None


def differences(found: TunedModel, work: PreparedJob) -> list[str]:
    """Return the differences between a model and the spec that the service shows."""
    spec = work.spec
    wanted, has = spec.hyperparameters, found.hyperparameters
    pairs = {
        "base_model": (spec.base_model, found.base_model),
        "tuned_model_source": (spec.tuned_model_source, found.tuned_model_source),
        "epoch_count": (wanted.epoch_count, has.epoch_count),
        "batch_size": (wanted.batch_size, has.batch_size),
        "learning_rate": (wanted.learning_rate, has.learning_rate),
    }
    return [
        f"{key} is {there}, the spec says {here}"
        for key, (here, there) in pairs.items()
        if here and there and here != there
    ]


def _check_same(found: TunedModel, job: Job, work: PreparedJob) -> None:
    """Raise RequestRefused unless the model was made from the spec."""
    if different := [*differences(found, work), *content_difference(job, work)]:
        raise RequestRefused(
            f"{found.name} exists already and is another model: {'; '.join(different)}",
            "choose another tuned_model_id, or remove the key",
        )


def content_difference(job: Job | None, work: PreparedJob) -> list[str]:
    """Return the difference in content, known from the store if the spec sets its own ID."""
    if job is None or not work.spec.tuned_model_id or job.content == content_id(work):
        return []
    return ["it was tuned on other examples (according to the local store)"]


async def poll(
    job: Job, target: Target, emit: EventHandler, work: PreparedJob | None = None
) -> Job:
    """Read the progress of the tuning; when it has succeeded, the phase is EVALUATE.

    Changes nothing, unless ``work`` asks for early stopping: then the job is returned with ``stopping``
    set, and the tuning is cancelled by the next call.
    """
    operation = await _operation(job, target)
    if operation is None:
        return await _by_state(job, target, emit)
    job = replace(
        job,
        operation=operation.name,
        total_steps=operation.total_steps,
        completed_steps=operation.completed_steps,
        mean_loss=operation.snapshots[-1].mean_loss if operation.snapshots else None,
    )
    emit(Event(EventKind.PROGRESS, job, operation=operation))
    if not operation.done:
        return job if work is None else await _stop_early(job, work, operation, target, emit)
    if operation.cancelled and job.stopping:
        emit(Event(EventKind.ALREADY_CANCELLED, job))
    if operation.cancelled:
        return replace(job, phase=Phase.CANCELLED, error=_cancelled(job))
    if operation.error:
        return replace(job, phase=Phase.FAILED, error=operation.error)
    emit(Event(EventKind.TUNED, job))
    return replace(job, phase=Phase.EVALUATE, stopping="")


async def _stop_early(
    job: Job, work: PreparedJob, operation: Operation, target: Target, emit: EventHandler
) -> Job:
    if job.stopping and work.spec.early_stopping is None:
        return replace(job, stopping="")  # early stopping was removed from the spec
    if job.stopping and not operation.cancelled:
        emit(
            Event(EventKind.CHANGING, job, action="cancel", what=job.tuned_model, why=job.stopping)
        )
        await target.cancel(operation.name)
        emit(Event(EventKind.CANCELLING, job, why=job.stopping))
    if job.stopping:
        return job
    why = early_stop_reason(work.spec.early_stopping, operation)
    if why:
        emit(Event(EventKind.STOPPING, job, why=why))
    return replace(job, stopping=why)


def _cancelled(job: Job) -> str:
    return f"stopped early: {job.stopping}" if job.stopping else "the tuning was cancelled"


async def _operation(job: Job, target: Target) -> Operation | None:
    """The job's operation, or the latest of an adopted model; None if the service has none."""
    try:
        if job.operation:
            return await target.operation(job.operation)
        known = await target.operations(job.tuned_model)
    except RequestRefused:
        return None
    return known[0] if known else None


async def _by_state(job: Job, target: Target, emit: EventHandler) -> Job:
    """Continue by the model's state when there is no operation."""
    match (await target.tuned_model(job.tuned_model)).state:
        case State.ACTIVE:
            emit(Event(EventKind.TUNED, job))
            return replace(job, phase=Phase.EVALUATE, operation="", stopping="")
        case State.FAILED if job.stopping:
            return replace(job, phase=Phase.CANCELLED, operation="", error=_cancelled(job))
        case State.FAILED:
            why = "the service lists the model as FAILED without a reason"
            return replace(job, phase=Phase.FAILED, operation="", error=why)
        case State.CREATING:
            return replace(job, operation="")


def needs_evaluation(job: Job, work: PreparedJob) -> bool:
    """Return whether the job still needs an evaluation."""
    scored = job.evaluation
    return work.spec.evaluation is not None and not (scored and scored.digest == gate.digest(work))


async def _evaluate(
    job: Job, work: PreparedJob, target: Target, emit: EventHandler, answers: AnswerCache
) -> Job:
    settings = work.spec.evaluation
    if settings is None:
        return replace(job, phase=Phase.SHARE, allowed=gate.NO_GATE)
    evaluation, kept = job.evaluation, True
    if evaluation is None or needs_evaluation(job, work):
        evaluation, kept = await gate.evaluate(target, job, work, answers, emit), False
    job = replace(job, evaluation=evaluation)
    emit(Event(EventKind.EVALUATED, job, evaluation=evaluation, kept=kept))
    misses = "; ".join(gate.shortfalls(evaluation, settings))
    if not misses:
        allowed = gate.why(evaluation, settings)
        emit(Event(EventKind.ALLOWED, job, why=allowed))
        return replace(job, phase=Phase.SHARE, allowed=allowed)
    if kept and gate.was_forced(job.allowed, misses):
        return replace(job, phase=Phase.SHARE)
    if job.force:
        emit(Event(EventKind.FORCED, job, misses=misses))
        return replace(job, phase=Phase.SHARE, allowed=gate.forced(misses, user_at_host()))
    return replace(job, phase=Phase.REJECTED, error=misses, allowed=gate.lapsed(job.allowed))


async def _apply_permissions(
    job: Job, work: PreparedJob, target: Target, emit: EventHandler
) -> Job:
    if not job.allowed:  # saved by an older version, without the reason
        return replace(job, phase=Phase.EVALUATE)
    step = share if job.phase is Phase.SHARE else transfer
    return await step(job, work, target, emit)


def early_stop_reason(settings: EarlyStopping | None, operation: Operation) -> str:
    """Return why to stop the tuning; empty to continue.

    The loss at a step is the mean over the last ``window_steps`` steps. NaN counts as no progress. Steps
    without a report count towards the patience.
    """
    if settings is None or operation.done:
        return ""
    best, best_step = math.inf, 0
    step = 0
    for step, loss in _losses(operation.snapshots, settings.window_steps):
        if loss < best - settings.min_delta or not best_step:
            best, best_step = (math.inf if math.isnan(loss) else loss), step
    if not best_step or step - best_step < settings.patience_steps:
        return ""
    if math.isinf(best):
        return f"the loss has been NaN for {step - best_step} steps"
    text = f"fallen below {best:.4g}" + (
        f" by more than {settings.min_delta:g}" if settings.min_delta else ""
    )
    return f"the loss has not {text} for {step - best_step} steps"


def _losses(snapshots: Sequence[Snapshot], window_steps: int) -> Iterator[tuple[int, float]]:
    """Yield step and mean loss, starting when the first window is complete."""
    window: deque[Snapshot] = deque()
    for each in snapshots:
        window.append(each)
        while window[0].step <= each.step - window_steps:
            window.popleft()
        if each.step >= window_steps:
            # no running sum: its rounding errors would make a constant loss seem to fall
            yield each.step, math.fsum(one.mean_loss for one in window) / len(window)
