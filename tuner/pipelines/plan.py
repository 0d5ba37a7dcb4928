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
from tuner.pipelines.model import SELECTED, stage_state
from tuner.pipelines.select import owner_of
from tuner.targets import TARGETS
from tuner.targets.google import check_tunable
from tuner.types import Feature, Grant, Operation, Permission, Phase, Role, State, TunedModel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from tuner.events.events import Event, EventHandler
    from tuner.job import Job
    from tuner.jobs.store import Store
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.load import LoadedJob
    from tuner.targets import Target
    from tuner.types import Model, NewTunedModel, TargetConfig

    OpenTarget = Callable[[TargetConfig], Awaitable[Target]]
    T = TypeVar("T")

MAX_PARALLEL_READS = 16
TO_DO_EXIT_CODE = 6
"""With ``--detailed-exitcode``, if there is something to do."""
_RETRY = "`tuner retry` tunes it again"
_OVERRULE = "`tuner run --force-share` shares it nevertheless"
_ASK_OWNER = "ask its owner, or tune your own copy with `tuner run --new`"
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
        title, path, work: As loaded.
        tuned_model: ``tunedModels/ID``; empty as long as it depends on the best of a matrix.
        job: The job in the store, None for none.
        action: In a word.
        reasons: Why, as phrases for people.
        changes: What will be changed, in order; what follows an evaluation only if it passes.
        fix: How to get past an obstacle.
        tokens: Of its examples, once over; None if they cannot be counted here.
        steps: Training steps, with the service's defaults for what is left open.
        error: Why its target cannot be read; the action is then UNKNOWN, or CANNOT if that is known
            without reading.
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
    """Plan what a run would do about each job, in order; only reads are sent.

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
        if _are_settled([items[mate] for mate in _source_stages(jobs[n], jobs)], job):
            item = await plan_job(job, store, states[job.work.spec.target])
            items[n] = items[n] if item.is_blocked else item
    counted = []
    for item in items:
        steps = total_steps(len(item.work.examples), item.work.spec.hyperparameters)
        counted.append(item._replace(tokens=count_tokens(item.work), steps=steps))
    return counted


def exit_code(items: Sequence[PlanItem], *, is_detailed: bool) -> int:
    """The most important of: 5 or 4 for a target that cannot be read, 2 for what cannot be done.

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
    """Start nothing if some of it cannot be done.

    Raises:
        InvalidInput: All that cannot be done.
    """
    problems = [
        Problem(str(item.path), 0, 0, f"{item.title}: {'; '.join(item.reasons)}", item.fix)
        for item in items
        if item.is_blocked
    ]
    if problems:
        raise InvalidInput(problems)


def split_settled(
    pairs: Sequence[tuple[Job, PreparedJob]], items: Sequence[PlanItem]
) -> tuple[list[tuple[Job, PreparedJob]], list[Outcome]]:
    """Split jobs into those a run follows, and the outcomes of those it leaves as they are.

    Args:
        pairs: The jobs to run.
        items: Their plan, in any order, and maybe that of other jobs.
    """
    by_model = {(item.work.spec.target, item.tuned_model): item for item in items}
    left: list[tuple[Job, PreparedJob]] = []
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
        elif item.action is Action.CREATE:  # gone from the service, whatever the store says
            left.append((replace(job, phase=Phase.SUBMIT), work))
        else:
            left.append((job, work))
    return left, settled


class TargetState(NamedTuple):
    """What was read of one target.

    Attributes:
        address: Which service this is, for people; empty if nothing could be read.
        lacks: What cannot be done there, and why.
        bases: The base models, by name.
        models: The tuned models visible to us, by name; of those shared with everyone only the wanted.
        mine: The names of those we own.
        permissions: Of the wanted models; missing for a model that hides them from us.
        wanted: The models that were looked for.
        error: Why tuned models cannot be read; there seem to be none then.
    """

    address: str
    lacks: Mapping[Feature, str]
    bases: Mapping[str, Model] = {}
    models: Mapping[str, TunedModel] = {}
    mine: frozenset[str] = frozenset()
    permissions: Mapping[str, Sequence[Permission]] = {}
    wanted: frozenset[str] = frozenset()
    error: TunerError | None = None


async def read_target(
    config: TargetConfig, wanted: Sequence[str], open_target: OpenTarget
) -> TargetState:
    """Read a target: three listings, and at most two more calls for each wanted model."""
    state = TargetState("", TARGETS[config.kind].cannot, wanted=frozenset(wanted))
    try:
        target = await open_target(config)
        bases = {each.name: each for each in await target.models()}
        state = state._replace(address=target.address, lacks=target.lacks, bases=bases)
        models = {each.name: each for each in await target.tuned_models()}
        mine = frozenset(each.name for each in await target.tuned_models("owner:me"))
    except TunerError as error:  # an API key at Google cannot list tuned models, but base models
        return state._replace(error=error)
    # a listing leaves out what is shared with everyone
    models |= await _read_each([name for name in wanted if name not in models], target.tuned_model)
    tuned = [name for name in wanted if name in models and models[name].state is State.ACTIVE]
    permissions = await _read_each(tuned, target.permissions)
    return state._replace(models=models, mine=mine, permissions=permissions)


async def _read_each(wanted: Sequence[str], read: Callable[[str], Awaitable[T]]) -> dict[str, T]:
    slots = asyncio.Semaphore(MAX_PARALLEL_READS)
    found: dict[str, T] = {}

    async def one(name: str) -> None:
        async with slots:
            try:
                found[name] = await read(name)
            except (NotAllowed, RequestRefused):
                return

    await asyncio.gather(*map(one, wanted))
    return found


def _resolved(job: LoadedJob, jobs: Sequence[LoadedJob], store: Store) -> LoadedJob | None:
    """A stage with the model it tunes further, if the store knows which one was selected."""
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


def _are_settled(sources: Sequence[PlanItem], job: LoadedJob) -> bool:
    """Whether a run leaves the sources as they are, and the selected one is past its gate."""
    model = job.work.spec.tuned_model_source
    return all(each.action is Action.UNCHANGED for each in sources) and any(
        each.tuned_model == model and not each.fix for each in sources
    )


def _beside_competitors(items: Sequence[PlanItem], jobs: Sequence[LoadedJob]) -> list[PlanItem]:
    """A variant that misses its gate is as it should be, if another one may still be selected."""
    keys = [(job.pipeline, job.grouping) if job.competes else None for job in jobs]
    open_to_selection = {
        key
        for item, key in zip(items, keys, strict=True)
        if item.action is not Action.REJECTED
        and not (item.job and item.job.phase is Phase.NOT_SELECTED)
    }
    return [
        item._replace(action=Action.UNCHANGED)
        if item.action is Action.REJECTED and key and key in open_to_selection
        else item
        for item, key in zip(items, keys, strict=True)
    ]


def _without_target(item: PlanItem, job: LoadedJob) -> PlanItem:
    """The item of a job whose source or target is not known."""
    spec = job.work.spec
    needed = [Feature.CHAINING] * bool(spec.tuned_model_source)
    needed += [Feature.SHARING] * bool(spec.grants)
    needed += [Feature.TRANSFER] * bool(spec.transfer_ownership)
    if lacking := _lacking(needed, TARGETS[spec.target.kind].cannot):
        return item._replace(action=Action.CANNOT, reasons=lacking, fix=_elsewhere(job.work))
    changes = ["tune", *["evaluate"] * bool(spec.evaluation)]
    changes += [f"grant {grant}" for grant in spec.grants]
    changes += [f"transfer to {spec.transfer_ownership}"] * bool(spec.transfer_ownership)
    reasons = (f"tuned from the best of {job.source}, once that is known",)
    changed = _if_selected(changes, job)
    return item._replace(action=Action.AFTER, reasons=reasons, changes=changed)


# -- the dry run of one job -------------------------------------------------------------------------


async def plan_job(loaded: LoadedJob, store: Store, state: TargetState) -> PlanItem:
    """Plan one job: run its steps on a target that records changes, and describe the result."""
    name, work = _name(loaded), loaded.work
    item = PlanItem(
        loaded.title, loaded.path, work, name, None, Action.UNCHANGED, error=state.error
    )
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
    target = _DryRunTarget(state, name)
    events: list[Event] = []
    try:
        end = await _advance_to_end(job, work, target, events.append)
    except (NotAllowed, RequestRefused) as refusal:
        error: NotAllowed | RequestRefused | None = refusal
    else:
        error = None
    if lacking := _lacking(target.used, state.lacks):
        return item._replace(action=Action.CANNOT, reasons=lacking, fix=_elsewhere(work))
    if error:
        return _refused(item, error, target)
    if end.phase is not Phase.DONE:
        return _ended(item, end)
    changes = _if_selected(target.changes, loaded)
    if found is None or found.state is not State.ACTIVE:
        action, reason = _to_tune(item, found, state)
        return item._replace(action=action, reasons=(reason,), changes=changes)
    action, reason = _to_share(item, changes, force=job.force)
    remarks = () if "evaluate" in changes else _remarks(item, found, state, events)
    return item._replace(action=action, reasons=(reason, *remarks), changes=changes)


class _DryRunTarget:
    """A target for one model that answers from a ``TargetState`` and records changes.

    A recorded change is assumed to succeed, and is visible to later reads.

    Attributes:
        changes: The changes in words, in order.
        used: The features that they need.
        address: As the state's.
    """

    def __init__(self, state: TargetState, name: str) -> None:
        self.changes: list[str] = []
        self.used: set[Feature] = set()
        self.address = state.address
        self._state, self._name = state, name
        self._model = state.models.get(name)
        self._permissions = state.permissions.get(name)
        self._is_mine = name in state.mine
        if self._model and self._model.state is not State.ACTIVE:
            self._permissions = ()  # not read while it is tuning

    @property
    def is_hidden(self) -> bool:
        """Whether the model is there and its permissions cannot be read."""
        return self._model is not None and self._permissions is None

    async def models(self) -> Sequence[Model]:
        return list(self._state.bases.values())

    async def model(self, name: str) -> Model:
        if name not in self._state.bases:
            raise NotFound(f"{self.address} has no base model {name}")
        return self._state.bases[name]

    async def tuned_model(self, name: str) -> TunedModel:
        if self._model is None:
            raise NotFound(f"{name} does not exist")
        return self._model

    async def operation(self, name: str) -> Operation:
        raise RequestRefused(f"{name} is not read: the state of the model is enough")

    async def operations(self, _tuned_model: str) -> Sequence[Operation]:
        return ()

    async def permissions(self, name: str) -> Sequence[Permission]:
        if self._permissions is None:
            what = f"{name} has another owner, and its permissions are hidden from you"
            raise NotAllowed(what, _ASK_OWNER)
        return self._permissions

    async def create(self, new: NewTunedModel) -> Operation:
        source = new.tuned_model_source
        if source:
            self.used.add(Feature.CHAINING)
        else:
            await check_tunable(cast("Target", self), new.base_model)
        if source and source not in self._state.models and source not in self._state.wanted:
            what = f"{source} does not exist, or is hidden from you"
            raise NotFound(what, "see `tuner models list`")
        self.changes.append("tune")
        self._model = TunedModel(new.name, State.ACTIVE, new.base_model)
        self._permissions, self._is_mine = (), True
        return Operation(f"{new.name}/operations/planned", new.name)

    async def delete(self, _name: str) -> None:
        self.changes.append("delete")
        self._model = None

    async def grant(self, name: str, grant: Grant) -> Permission:
        self.used.add(Feature.SHARING)
        self.changes.append(f"grant {grant}")
        permission = Permission(f"{name}/permissions/planned-{len(self.changes)}", grant)
        self._permissions = (*(self._permissions or ()), permission)
        return permission

    async def change_role(self, permission: str, role: Role) -> Permission:
        self.used.add(Feature.SHARING)
        held = {each.name: each for each in self._permissions or ()}
        grant = held[permission].grant
        who = grant.email_address or "everyone"
        self.changes.append(f"change {who} from {grant.role.lower()} to {role.lower()}")
        held[permission] = held[permission]._replace(grant=replace(grant, role=role))
        self._permissions = tuple(held.values())
        return held[permission]

    async def transfer(self, name: str, email_address: str) -> None:
        self.used.add(Feature.TRANSFER)
        owner = owner_of(self._permissions or ())
        if not self._is_mine:
            what = f"owner is {owner or 'another'}, the spec says {email_address}"
            raise NotAllowed(what, _ASK_OWNER)
        self.changes.append(f"transfer to {email_address}")
        others = [each for each in self._permissions or () if each.grant.role is not Role.OWNER]
        grant = Grant(Role.OWNER, email_address=email_address)
        self._permissions = (*others, Permission(f"{name}/permissions/owner", grant))

    def finish_tuning(self) -> None:
        """Assume that a running tuning succeeds."""
        if self._model:
            self._model, self._is_mine = self._model._replace(state=State.ACTIVE), True


async def _advance_to_end(
    job: Job, work: PreparedJob, target: _DryRunTarget, tell: EventHandler
) -> Job:
    """Advance a job to its end; running tunings and evaluations are assumed to succeed."""
    while not job.phase.is_end:
        if job.phase is Phase.EVALUATE and needs_evaluation(job, work):
            target.changes.append("evaluate")
            job = replace(job, phase=Phase.SHARE, allowed=gate.NO_GATE)
            continue
        after = await advance(job, work, cast("Target", target), tell)
        if job.phase is after.phase is Phase.TUNE:
            target.finish_tuning()
        job = after
    return job


def _refused(item: PlanItem, error: NotAllowed | RequestRefused, target: _DryRunTarget) -> PlanItem:
    """The item of a job whose next step is refused."""
    known = item.job
    if target.is_hidden and known and known.handed_to and known.phase is Phase.DONE:
        why = f"handed over to {known.handed_to}, who alone sees its permissions"
        return item._replace(reasons=(why, *_overruled(known)))
    action = Action.NOT_FOUND if isinstance(error, NotFound) else Action.CANNOT
    if isinstance(error, NotAllowed):
        action = Action.OWNER
    return item._replace(action=action, reasons=(error.what,), fix=error.fix)


def _ended(item: PlanItem, end: Job) -> PlanItem:
    """The item of a job that a run would end without sharing it."""
    known = item.job
    if end.phase is Phase.NOT_SELECTED:
        return item._replace(reasons=("another variant of its matrix was selected",))
    if end.phase is Phase.REJECTED:
        stays = "; what was granted before stays" if known and known.allowed else ""
        reasons = (f"misses its gate: {end.error}{stays}",)
        return item._replace(action=Action.REJECTED, reasons=reasons, fix=_OVERRULE)
    why = (known.error if known else "") or end.error
    return item._replace(action=Action.FAILED, reasons=(why,), fix=_RETRY)


def _to_tune(item: PlanItem, found: TunedModel | None, state: TargetState) -> tuple[Action, str]:
    """The action and reason for a job whose model does not exist yet."""
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
    """The action and reason for a job whose model is tuned."""
    known = item.job
    if known is None:
        chosen = "; its examples cannot be compared: the id was chosen by hand"
        more = chosen if item.work.spec.tuned_model_id else ""
        return Action.ADOPT, f"tuned already, unknown to the local store{more}"
    if "evaluate" in changes and known.phase.is_end:
        return Action.ADOPT, "tuned already; its held-out rows, their metric or the model are new"
    if known.phase is Phase.REJECTED:
        return Action.RESUME, (
            "its gate is overruled" if force else "was rejected, but passes the gate now"
        )
    if not known.phase.is_end:
        left = "not evaluated yet" if "evaluate" in changes else "what comes after is not finished"
        return Action.RESUME, f"tuned; {left}"
    if changes:
        return Action.DRIFT, "permissions or owner differ from the spec"
    return Action.UNCHANGED, "tuned from the same content, shared as the spec says"


def _remarks(
    item: PlanItem, found: TunedModel, state: TargetState, events: Sequence[Event]
) -> Iterator[str]:
    """What a run leaves alone: an overruled gate, other settings, permissions not in the spec."""
    yield from _overruled(item.job)
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
    yield from (f"{each} is not in the spec; left alone" for each in others)


def _overruled(job: Job | None) -> Iterator[str]:
    if job and job.is_forced:
        yield f"its gate was not met: {job.allowed}"


def _lacking(needed: Collection[Feature], lacks: Mapping[Feature, str]) -> tuple[str, ...]:
    missing = [each for each in _KEYS if each in needed and each in lacks]
    return tuple(f"{_KEYS[each]} is not possible: {lacks[each]}" for each in missing)


def _elsewhere(work: PreparedJob) -> str:
    local = "" if work.spec.target.kind == "local" else ", or tune with `target: local`"
    return f"remove it from the spec{local}"


def _if_selected(changes: Sequence[str], job: LoadedJob) -> tuple[str, ...]:
    if not job.competes:
        return tuple(changes)
    always = ("tune", "evaluate", "delete")
    return tuple(each if each in always else f"if selected: {each}" for each in changes)


def _name(job: LoadedJob) -> str:
    return "" if job.source else names.tuned_model(new_tuned_model(job.work).id)
