"""What ``tuner run`` would do about jobs, and why: reads of their targets, and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from tuner import names
from tuner.errors import GateNotMet, InvalidInput, NotAllowed, TunerError, TuningFailed
from tuner.job import Job
from tuner.jobs.outcome import gravest
from tuner.jobs.planning.chained import resolved
from tuner.jobs.planning.verdict import Action, Verdict, lacking, verdict, wished
from tuner.jobs.planning.world import read_world
from tuner.jobspec.prepared_job import new_tuned_model, total_steps
from tuner.targets import TARGETS
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from tuner.jobs.ledger import Ledger
    from tuner.jobs.planning.asked import Asked
    from tuner.jobs.planning.world import World
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.targets import Target
    from tuner.types import TargetConfig

    OpenTarget = Callable[[TargetConfig], Awaitable[Target]]

TO_DO = 6
"""What ``--detailed-exitcode`` says of something to do: not finished."""

_BLOCKED = (Action.CANNOT, Action.BASE_GONE)
_IN_THE_WAY = {
    Action.CANNOT: InvalidInput.exit_code,
    Action.BASE_GONE: InvalidInput.exit_code,
    Action.OWNER: NotAllowed.exit_code,
    Action.FAILED: TuningFailed.exit_code,
    Action.REJECTED: GateNotMet.exit_code,
    Action.UNCHANGED: 0,
}


class Item(NamedTuple):
    """What would be done about one job.

    Attributes:
        title, path, work: As they were asked for.
        tuned_model: ``tunedModels/ID``; empty while that depends on the winner of a grouping.
        job: What the ledger knows of it, None for nothing.
        action, reasons, changes, fix: As ``Verdict``.
        tokens: Of its examples, once over; None where they cannot be counted here.
        steps: Optimizer steps of the tuning, as the service would choose what is left open.
        error: Why its target cannot be asked; the action is then UNKNOWN, or CANNOT by what is
            known without asking.
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
        """Whether it cannot be done as long as spec and target are what they are."""
        return self.action in _BLOCKED


async def plan(
    asked: Sequence[Asked],
    ledger: Ledger,
    open_: OpenTarget,
    tokens: Callable[[PreparedJob], int | None],
) -> list[Item]:
    """What ``run`` would do about each, in their order; only reads are sent, targets side by side.

    A target that cannot be asked makes items with an ``error``.
    """
    by_target: dict[TargetConfig, list[tuple[int, Asked]]] = {}
    for at, each in enumerate(asked):
        by_target.setdefault(each.work.spec.target, []).append((at, each))
    parts = await asyncio.gather(
        *(
            _on_one(config, [each for _, each in part], ledger, open_)
            for config, part in by_target.items()
        )
    )
    places = [at for part in by_target.values() for at, _ in part]
    items = dict(zip(places, (item for part in parts for item in part), strict=True))
    return [_counted(items[at], tokens) for at in range(len(asked))]


def exit_code(items: Sequence[Item], *, is_detailed: bool) -> int:
    """The gravest of: 5 or 4 for a target that cannot be asked, 2 for what cannot be done.

    With ``is_detailed`` also 4 where the owner is another, 1 for a tuning that failed, 3 for a gate
    that is missed, and 6 where there is something to do.
    """
    return gravest({_code(item, is_detailed=is_detailed) for item in items})


def _code(item: Item, *, is_detailed: bool) -> int:
    if item.error and not item.is_blocked:
        return item.error.exit_code
    if is_detailed or item.is_blocked:
        return _IN_THE_WAY.get(item.action, TO_DO)
    return 0


def _name(asked: Asked) -> str:
    return "" if asked.source else names.tuned_model(new_tuned_model(asked.work).id)


async def _on_one(
    config: TargetConfig, asked: Sequence[Asked], ledger: Ledger, open_: OpenTarget
) -> list[Item]:
    """Those of one target; where it cannot be asked, what is known without."""
    names_of = [_name(each) for each in asked]
    chained = _chained(asked, ledger)
    try:
        target = await open_(config)
        wanted = [*names_of, *map(_name, chained.values())]
        world = await read_world([name for name in wanted if name], target)
    except TunerError as error:
        return [
            _unknown(_item(each, name, None, _unasked(each.work)), error)
            for each, name in zip(asked, names_of, strict=True)
        ]
    items: list[Item] = []
    first: dict[str, Item] = {}
    for each, name in zip(asked, names_of, strict=True):
        job = _bookmark(each, name, ledger)
        found = verdict(name, each.work, job, world) if name else _later(each)
        same = first.get(name)
        item = _item(each, name, job, _again(found, same) if same else found)
        if world.error:
            item = _unknown(item, world.error)
        if found.action is Action.CREATE:
            first.setdefault(name, item)
        items.append(item)
    items = _beside_others(items, asked)
    for at, each in chained.items():
        if _stand([items[mate] for mate in _sources(asked[at], asked)], each):
            items[at] = _known(each, items[at], world, ledger)
    return items


def _chained(asked: Sequence[Asked], ledger: Ledger) -> dict[int, Asked]:
    """Those whose source won before, by their places, as they are with it."""
    found = {}
    for at, each in enumerate(asked):
        sources = [asked[mate].title for mate in _sources(each, asked)]
        if with_it := resolved(each, sources, ledger) if sources else None:
            found[at] = with_it
    return found


def _sources(each: Asked, asked: Sequence[Asked]) -> list[int]:
    """Where the stages stand whose winner it tunes further."""
    source = (each.pipeline, each.source)
    return [
        at
        for at, mate in enumerate(asked)
        if each.source and (mate.pipeline, mate.grouping) == source
    ]


def _stand(sources: Sequence[Item], asked: Asked) -> bool:
    """Whether a run would leave them as they are, and the winner past its gate."""
    model = asked.work.spec.tuned_model_source
    return all(each.action is Action.UNCHANGED for each in sources) and any(
        each.tuned_model == model and not each.fix for each in sources
    )


def _beside_others(items: Sequence[Item], asked: Sequence[Asked]) -> list[Item]:
    """Of a matrix that keeps its best, those that missed the gate are as they should be if others did not."""
    places = [(each.pipeline, each.grouping) if each.competes else None for each in asked]
    pairs = list(zip(items, places, strict=True))
    may_win = {place for item, place in pairs if place and not _is_out(item)}
    return [
        item._replace(action=Action.UNCHANGED)
        if item.action is Action.REJECTED and place in may_win
        else item
        for item, place in pairs
    ]


def _is_out(item: Item) -> bool:
    is_beaten = item.job is not None and item.job.phase is Phase.BEATEN
    return is_beaten or item.action is Action.REJECTED


def _known(asked: Asked, later: Item, world: World, ledger: Ledger) -> Item:
    """The item of a stage whose source is known; what speaks against it is left to the run."""
    name = _name(asked)
    job = _bookmark(asked, name, ledger)
    found = verdict(name, asked.work, job, world)
    return later if found.action in _BLOCKED else _item(asked, name, job, found)


def _again(found: Verdict, same: Item) -> Verdict:
    """About a model that another job of the same plan makes."""
    left = tuple(change for change in found.changes if change not in same.changes)
    return Verdict(Action.ADOPT, (f"the same model as {same.title}",), left)


def _bookmark(asked: Asked, name: str, ledger: Ledger) -> Job | None:
    """What the ledger knows, with the force that a run would give it, as ``start.begin`` does."""
    spec = asked.work.spec
    job = ledger.find(Job(spec.job, spec.target, name, "", "").where, name)
    return job and replace(job, force=asked.force or (job.force and not job.phase.is_end))


def _later(asked: Asked) -> Verdict:
    if lacks := lacking(asked.work, TARGETS[asked.work.spec.target.kind].cannot):
        return Verdict(Action.CANNOT, tuple(lacks))
    why = f"tuned from the winner of {asked.source}, once that is known"
    return Verdict(Action.AFTER, (why,), wished(asked.work))


def _unknown(item: Item, error: TunerError) -> Item:
    """The item of a target that does not tell: what cannot be done is known all the same."""
    if item.is_blocked:
        return item._replace(error=error)
    why = ("its target cannot be asked",)
    return item._replace(action=Action.UNKNOWN, reasons=why, changes=(), fix="", error=error)


def _unasked(work: PreparedJob) -> Verdict:
    """What the kind of target is known to lack, without asking it."""
    lacks = lacking(work, TARGETS[work.spec.target.kind].cannot)
    fix = "name another target" if lacks else ""
    return Verdict(Action.CANNOT if lacks else Action.UNKNOWN, tuple(lacks), (), fix)


def _item(asked: Asked, name: str, job: Job | None, found: Verdict) -> Item:
    changes = tuple(map(_if_it_wins, found.changes)) if asked.competes else found.changes
    return Item(
        *(asked.title, asked.path, asked.work, name, job, found.action, found.reasons, changes),
        fix=found.fix,
    )


def _if_it_wins(change: str) -> str:
    return change if change in ("tune", "evaluate", "delete") else f"if it wins: {change}"


def _counted(item: Item, tokens: Callable[[PreparedJob], int | None]) -> Item:
    spec = item.work.spec
    steps = total_steps(len(item.work.examples), spec.hyperparameters)
    return item._replace(tokens=tokens(item.work), steps=steps)
