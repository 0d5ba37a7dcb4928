"""Plans what ``tuner run`` would do: a dry run of each job's steps, with reads only."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from enum import StrEnum
from math import isclose
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from tuner import names
from tuner.errors import (
    GateNotMet,
    InvalidInput,
    NotAllowed,
    NotFound,
    Problem,
    RequestRefused,
    TunerError,
    TuningFailed,
)
from tuner.evaluation import gate
from tuner.events.events import EventKind
from tuner.jobs import pipeline_store
from tuner.jobs.outcome import Outcome, gravest
from tuner.jobs.runner import find_or_create_job
from tuner.jobs.state_machine import advance, needs_evaluation
from tuner.jobspec.prepared_job import new_tuned_model, total_steps, with_source
from tuner.pipelines.dry_run import DryRunTarget, TargetState, read_target
from tuner.pipelines.model import SELECTED, stage_state
from tuner.targets import TARGETS
from tuner.types import Feature, Phase, State, TunedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from tuner.events.events import Event, EventHandler
    from tuner.job import Job
    from tuner.jobs.store import Store
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.dry_run import OpenTarget
    from tuner.pipelines.load import LoadedJob
    from tuner.targets import Target
    from tuner.types import TargetConfig

    RunnableJob = tuple[Job, PreparedJob]
    T = TypeVar("T")

TO_DO_EXIT_CODE = 6
"""With ``--detailed-exitcode``, if there is something to do."""
_KEYS = {
    Feature.CHAINING: "tuned_model_source",
    Feature.SHARING: "permissions",
    Feature.TRANSFER: "transfer_ownership",
}


class Action(StrEnum):
    """What ``tuner run`` does about a job."""

    CREATE = "create"
    UNCHANGED = "unchanged"
    ADOPT = "adopt"
    RESUME = "resume"
    DRIFT = "drift"
    OWNER = "owner differs"
    NOT_FOUND = "model not found"
    CANNOT = "cannot"
    REJECTED = "rejected"
    FAILED = "failed"
    AFTER = "after"
    UNKNOWN = "unknown"


_BLOCKED = (Action.CANNOT, Action.NOT_FOUND)
_EXIT_CODES = {
    Action.CANNOT: InvalidInput.exit_code,
    Action.NOT_FOUND: InvalidInput.exit_code,
    Action.OWNER: NotAllowed.exit_code,
    Action.FAILED: TuningFailed.exit_code,
    Action.REJECTED: GateNotMet.exit_code,
    Action.UNCHANGED: 0,
}


class PlanItem(NamedTuple):
    """What a run would do about one job.

    Attributes:
        tuned_model: ``tunedModels/ID``; empty as long as it depends on the best of a matrix.
        job: The job in the store, None for none.
        reasons: Why, as phrases for people.
        changes: What will be changed, in order; what follows an evaluation only if it passes.
        fix: How to get past an obstacle.
        tokens: Of its examples, once over; None if they cannot be counted here.
        error: Why its target cannot be read.
    """

    title: str
    path: Path
    work: PreparedJob
    tuned_model: str
    job: Job | None
    action: Action
    reasons: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    fix: str = ""
    tokens: int | None = None
    steps: int = 0
    error: TunerError | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether it cannot be done with this spec on this target."""
        return self.action in _BLOCKED


async def plan(
    jobs: Sequence[LoadedJob],
    store: Store,
    open_target: OpenTarget,
    count_tokens: Callable[[PreparedJob], int | None],
) -> list[PlanItem]:
    """Plan what a run would do about each job, in order, with reads only.

    A target that cannot be read gives items with an ``error``.
    """
    resolved = {n: found for n, job in enumerate(jobs) if (found := _resolved(job, jobs, store))}
    wanted: defaultdict[TargetConfig, set[str]] = defaultdict(set)
    for job in (*jobs, *resolved.values()):
        wanted[job.work.spec.target] |= {_name(job)} - {""}
    readings = [read_target(config, sorted(names), open_target) for config, names in wanted.items()]
    states = dict(zip(wanted, await asyncio.gather(*readings), strict=True))
    items: list[PlanItem] = []
    first: dict[tuple[TargetConfig, str], PlanItem] = {}
    for job in jobs:
        target = job.work.spec.target
        item = await plan_job(job, store, states[target])
        if same := first.get((target, item.tuned_model)):
            left = tuple(change for change in item.changes if change not in same.changes)
            reasons = (f"the same model as {same.title}",)
            item = item._replace(action=Action.ADOPT, reasons=reasons, changes=left, fix="")
        elif item.action is Action.CREATE:
            first[target, item.tuned_model] = item
        items.append(item)
    items = _beside_competitors(items, jobs)
    for n, job in resolved.items():
        sources, model = _source_stages(jobs[n], jobs), job.work.spec.tuned_model_source
        are_settled = all(items[each].action is Action.UNCHANGED for each in sources)
        if are_settled and any(
            items[each].tuned_model == model and not items[each].fix for each in sources
        ):
            item = await plan_job(job, store, states[job.work.spec.target])
            items[n] = items[n] if item.is_blocked else item
    return [
        item._replace(
            tokens=count_tokens(item.work),
            steps=total_steps(len(item.work.examples), item.work.spec.hyperparameters),
        )
        for item in items
    ]


def exit_code(items: Sequence[PlanItem], *, is_detailed: bool) -> int:
    """Return 5 or 4 for a target that cannot be read, 2 for what cannot be done, 0 otherwise.

    With ``is_detailed`` also 4 for another owner, 1 for a failed tuning, 3 for a missed gate, and 6
    if there is something to do.
    """
    codes = set()
    for item in items:
        if item.error and not item.is_blocked:
            codes.add(item.error.exit_code)
        elif is_detailed or item.is_blocked:
            codes.add(_EXIT_CODES.get(item.action, TO_DO_EXIT_CODE))
    return gravest(codes)


def refuse_blocked(items: Sequence[PlanItem]) -> None:
    """Raise InvalidInput with every job that cannot be done."""
    problems = [
        Problem(str(item.path), 0, 0, f"{item.title}: {'; '.join(item.reasons)}", item.fix)
        for item in items
        if item.is_blocked
    ]
    if problems:
        raise InvalidInput(problems)


def split_settled(
    pairs: Sequence[RunnableJob], items: Sequence[PlanItem]
) -> tuple[list[RunnableJob], list[Outcome]]:
    """Split jobs into those a run follows, and the outcomes of those it leaves as they are."""
    by_model = {(item.work.spec.target, item.tuned_model): item for item in items}
    left: list[RunnableJob] = []
    settled: list[Outcome] = []
    for job, work in pairs:
        item = by_model[job.target, job.tuned_model]
        known, reasons = item.job, "; ".join(item.reasons)
        was_rejected = known is not None and known.phase is Phase.REJECTED
        is_rejected = item.action is Action.REJECTED and was_rejected
        if known and (item.action is Action.UNCHANGED or (is_rejected and known.error in reasons)):
            settled.append(Outcome(known, is_news=False))
        elif item.action is Action.OWNER:
            error = NotAllowed(f"{item.title}: {reasons}", item.fix)
            settled.append(Outcome(job, error, is_news=False))
        else:
            is_gone = item.action is Action.CREATE  # even if the store has it
            left.append((replace(job, phase=Phase.SUBMIT) if is_gone else job, work))
    return left, settled


def _resolved(job: LoadedJob, jobs: Sequence[LoadedJob], store: Store) -> LoadedJob | None:
    if not job.source:
        return None
    stored = pipeline_store.members(store, job.pipeline)
    titles = [jobs[mate].title for mate in _source_stages(job, jobs)]
    members = [stored[title] for title in titles if title in stored]
    if len(members) > 1:
        members = [each for each in members if stage_state(each) == SELECTED]
    if len(members) != 1 or not members[0].tuned_model:
        return None
    return job._replace(work=with_source(job.work, members[0].tuned_model), source="")


def _source_stages(job: LoadedJob, jobs: Sequence[LoadedJob]) -> list[int]:
    source = (job.pipeline, job.source)
    return [n for n, mate in enumerate(jobs) if (mate.pipeline, mate.grouping) == source]


def _beside_competitors(items: Sequence[PlanItem], jobs: Sequence[LoadedJob]) -> list[PlanItem]:
    """Mark variants that miss their gate as unchanged, if another one may still be selected."""
    keys = [(job.pipeline, job.grouping) if job.competes else None for job in jobs]
    selectable = {
        key
        for item, key in zip(items, keys, strict=True)
        if item.action is not Action.REJECTED
        and not (item.job and item.job.phase is Phase.NOT_SELECTED)
    } - {None}
    return [
        item._replace(action=Action.UNCHANGED)
        if item.action is Action.REJECTED and key in selectable
        else item
        for item, key in zip(items, keys, strict=True)
    ]


def _without_target(item: PlanItem, job: LoadedJob) -> PlanItem:
    spec = job.work.spec
    needed = [Feature.CHAINING] * bool(spec.tuned_model_source)
    needed += [Feature.SHARING] * bool(spec.grants)
    needed += [Feature.TRANSFER] * bool(spec.transfer_ownership)
    if blocked := _block_lacking(item, needed, TARGETS[spec.target.kind].cannot):
        return blocked
    changes = ["tune", *["evaluate"] * bool(spec.evaluation)]
    changes += [f"grant {grant}" for grant in spec.grants]
    changes += [f"transfer to {spec.transfer_ownership}"] * bool(spec.transfer_ownership)
    reasons = (f"tuned from the best of {job.source}, once that is known",)
    changed = _if_selected(changes, job)
    return item._replace(action=Action.AFTER, reasons=reasons, changes=changed)


async def plan_job(loaded: LoadedJob, store: Store, state: TargetState) -> PlanItem:
    """Plan one job: run its steps on a target that records changes."""
    which = (loaded.title, loaded.path, loaded.work, _name(loaded))
    item = PlanItem(*which, None, Action.UNCHANGED, error=state.error)
    if loaded.source or not state.address:
        item = _without_target(item, loaded)
    else:
        item = await _run_dry(item, loaded, store, state)
    if state.error and not item.is_blocked:
        reasons = ("its target cannot be read",)
        item = item._replace(action=Action.UNKNOWN, reasons=reasons, changes=(), fix="")
    return item


async def _run_dry(item: PlanItem, loaded: LoadedJob, store: Store, state: TargetState) -> PlanItem:
    work, name = item.work, item.tuned_model
    job = find_or_create_job(work, store)
    job = replace(job, force=loaded.force or job.force)
    known = store.find(job.where, name)
    item = item._replace(job=known and replace(known, force=job.force))
    found = state.models.get(name)
    if found is None and job.phase is not Phase.NOT_SELECTED:
        job = replace(job, phase=Phase.SUBMIT)
    target = DryRunTarget(state, name)
    events: list[Event] = []
    end: Job | NotAllowed | RequestRefused
    try:
        end = await _advance_to_end(job, work, target, events.append)
    except (NotAllowed, RequestRefused) as refusal:
        end = refusal
    if blocked := _block_lacking(item, target.used, state.lacks):
        return blocked
    if isinstance(end, NotAllowed | RequestRefused):
        return _refused(item, end, target)
    if end.phase is not Phase.DONE:
        return _ended(item, end)
    changes = _if_selected(target.changes, loaded)
    if found is None or found.state is not State.ACTIVE:
        action, reason = _to_tune(item, found, state)
        return item._replace(action=action, reasons=(reason,), changes=changes)
    action, reason = _to_share(item, changes, force=job.force)
    remarks = () if "evaluate" in changes else _remarks(item, found, state, events)
    return item._replace(action=action, reasons=(reason, *remarks), changes=changes)


async def _advance_to_end(
    job: Job, work: PreparedJob, target: DryRunTarget, handle: EventHandler
) -> Job:
    """Advance a job to its end; running tunings and evaluations are assumed to succeed."""
    while not job.phase.is_end:
        if job.phase is Phase.EVALUATE and needs_evaluation(job, work):
            target.changes.append("evaluate")
            job = replace(job, phase=Phase.SHARE, allowed=gate.NO_GATE)
            continue
        after = await advance(job, work, cast("Target", target), handle)
        if job.phase is after.phase is Phase.TUNE:
            target.finish_tuning()
        job = after
    return job


def _refused(item: PlanItem, error: NotAllowed | RequestRefused, target: DryRunTarget) -> PlanItem:
    known = item.job
    is_hidden = target.found is not None and target.held is None
    if is_hidden and known and known.handed_to and known.phase is Phase.DONE:
        why = f"transferred to {known.handed_to}; only the owner sees its permissions"
        return item._replace(reasons=(why, *_overridden(known)))
    action = Action.NOT_FOUND if isinstance(error, NotFound) else Action.CANNOT
    if isinstance(error, NotAllowed):
        action = Action.OWNER
    return item._replace(action=action, reasons=(error.what,), fix=error.fix)


def _ended(item: PlanItem, end: Job) -> PlanItem:
    known = item.job
    if end.phase is Phase.NOT_SELECTED:
        return item._replace(reasons=("another variant of its matrix was selected",))
    if end.phase is Phase.REJECTED:
        stays = "; what was granted before stays" if known and known.allowed else ""
        reasons = (f"misses its gate: {end.error}{stays}",)
        fix = "`tuner run --force-share` shares it anyway"
        return item._replace(action=Action.REJECTED, reasons=reasons, fix=fix)
    why = (known.error if known else "") or end.error
    return item._replace(action=Action.FAILED, reasons=(why,), fix="`tuner retry` tunes it again")


def _to_tune(item: PlanItem, found: TunedModel | None, state: TargetState) -> tuple[Action, str]:
    known, source = item.job, item.work.spec.tuned_model_source
    if found is not None and found.state is State.FAILED:
        return Action.RESUME, "failed; a retry was requested"
    if found is not None:
        done = found.snapshots[-1].step if found.snapshots else 0
        steps = total_steps(len(item.work.examples), found.hyperparameters)
        return Action.RESUME, f"tuning, step {done} of {steps}"
    if source and source not in state.models:
        return Action.CREATE, f"tuned from {source}, once that exists"
    is_gone = known and known.phase is not Phase.SUBMIT
    return Action.CREATE, "is gone from the service" if is_gone else "no such model yet"


def _to_share(item: PlanItem, changes: Sequence[str], *, force: bool) -> tuple[Action, str]:
    known = item.job
    if known is None:
        chosen = "; its examples cannot be compared: the spec sets its id"
        more = chosen if item.work.spec.tuned_model_id else ""
        return Action.ADOPT, f"tuned already, unknown to the local store{more}"
    if "evaluate" in changes and known.phase.is_end:
        return Action.ADOPT, "tuned already; its held-out rows, their metric or the model are new"
    if known.phase is Phase.REJECTED:
        reason = "its gate is overridden" if force else "was rejected, but passes the gate now"
        return Action.RESUME, reason
    if not known.phase.is_end:
        left = "not evaluated yet" if "evaluate" in changes else "later steps are not finished"
        return Action.RESUME, f"tuned; {left}"
    if changes:
        return Action.DRIFT, "permissions or owner differ from the spec"
    return Action.UNCHANGED, "tuned from the same content, shared as the spec says"


def _remarks(
    item: PlanItem, found: TunedModel, state: TargetState, events: Sequence[Event]
) -> Iterator[str]:
    """Yield what a run does not change: an overridden gate, other settings, other permissions."""
    yield from _overridden(item.job)
    spec = item.work.spec
    for key in ("display_name", "description", "temperature", "top_p", "top_k"):
        wanted, has = getattr(spec, key), getattr(found, key)
        if isinstance(wanted, float) and has is not None:
            has = wanted if isclose(wanted, has, rel_tol=1e-6) else has  # sent as 32 bits
        if wanted not in (None, "", has):
            yield f"{key} differs: `tuner models update` changes it"
    others = [each["grant"] for each in events if each.kind is EventKind.UNEXPECTED_PERMISSION]
    writers = [each for each in others if each.endswith("(writer)")]
    if spec.transfer_ownership and item.tuned_model not in state.mine and len(writers) == 1:
        others.remove(writers[0])  # the former owner
    yield from (f"{each} is not in the spec; left unchanged" for each in others)


def _overridden(job: Job | None) -> Iterator[str]:
    if job and job.is_forced:
        yield f"its gate was not met: {job.allowed}"


def _block_lacking(
    item: PlanItem, needed: Collection[Feature], lacks: Mapping[Feature, str]
) -> PlanItem | None:
    missing = [each for each in _KEYS if each in needed and each in lacks]
    reasons = tuple(f"{_KEYS[each]} is not possible: {lacks[each]}" for each in missing)
    local = "" if item.work.spec.target.kind == "local" else ", or tune with `target: local`"
    fix = f"remove it from the spec{local}"
    return item._replace(action=Action.CANNOT, reasons=reasons, fix=fix) if reasons else None


def _if_selected(changes: Sequence[str], job: LoadedJob) -> tuple[str, ...]:
    if not job.competes:
        return tuple(changes)
    always = ("tune", "evaluate", "delete")
    return tuple(each if each in always else f"if selected: {each}" for each in changes)


def _name(job: LoadedJob) -> str:
    return "" if job.source else names.tuned_model(new_tuned_model(job.work).id)
