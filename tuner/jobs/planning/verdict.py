"""What is to be done about one job, and why, from what is true at its target; asks nobody."""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum
from math import isclose
from typing import TYPE_CHECKING, NamedTuple

from tuner.evaluation import gate
from tuner.jobs.flow import differences, others_content
from tuner.jobspec.prepared_job import total_steps
from tuner.targets.tunable import METHOD, SHOWN, way_out
from tuner.types import Feature, Phase, Role, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tuner.job import Job
    from tuner.jobs.planning.world import World
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.types import TunedModel


class Action(StrEnum):
    """What ``tuner run`` does about a job."""

    CREATE = "create"
    UNCHANGED = "unchanged"
    ADOPT = "adopt"
    RESUME = "resume"
    DRIFT = "drift"
    OWNER = "owner differs"
    BASE_GONE = "base model gone"
    CANNOT = "cannot"
    REJECTED = "rejected"
    FAILED = "failed"
    AFTER = "after"
    UNKNOWN = "unknown"


class Verdict(NamedTuple):
    """What is to be done.

    Attributes:
        action: In a word.
        reasons: Why, each a phrase for people.
        changes: What will be changed, in order; what follows an evaluation only if it passes.
        fix: A way out, where there is something in the way.
    """

    action: Action
    reasons: tuple[str, ...]
    changes: tuple[str, ...] = ()
    fix: str = ""


AGAIN = "`tuner retry` tunes it again"
_OTHER_ID = "choose another tuned_model_id, or leave it out"
_ASK_OWNER = "ask its owner, or tune one of your own with `tuner run --new`"


def verdict(name: str, work: PreparedJob, job: Job | None, world: World) -> Verdict:
    """What ``tuner run`` would do about the tuned model ``name``.

    Args:
        name: ``tunedModels/ID``, as ``work`` makes it.
        work: What is asked for.
        job: What the ledger knows of it.
        world: Its target, read with ``name`` among the wanted.
    """
    found = world.models.get(name)
    if found is None:
        return _of_missing(work, job, world)
    different = [*differences(found, work), *others_content(job, work)]
    if different:
        return Verdict(Action.CANNOT, (f"is another model: {'; '.join(different)}",), (), _OTHER_ID)
    match found.state:
        case State.FAILED:
            return _of_failed(work, job)
        case State.CREATING:
            return Verdict(Action.RESUME, (_progress(found, work),), wished(work, tuned=True))
        case State.ACTIVE:
            return _of_tuned(found, work, job, world)


def lacking(work: PreparedJob, lacks: Mapping[Feature, str]) -> list[str]:
    """What the work needs and its target lacks, in words."""
    needs = {
        Feature.CHAINING: ("tuned_model_source", work.spec.tuned_model_source),
        Feature.SHARING: ("permissions", work.spec.grants),
        Feature.TRANSFER: ("transfer_ownership", work.spec.transfer_ownership),
    }
    return [
        f"{key} is asked for: {lacks[feature]}"
        for feature, (key, is_asked) in needs.items()
        if is_asked and feature in lacks
    ]


def wished(work: PreparedJob, *, tuned: bool = False, evaluated: bool = False) -> tuple[str, ...]:
    """All that the work asks for, as changes; less what was done already."""
    spec = work.spec
    steps = [] if tuned else ["tune"]
    if spec.evaluation and not evaluated:
        steps.append("evaluate")
    steps += [f"grant {grant}" for grant in spec.grants]
    if spec.transfer_ownership:
        steps.append(f"transfer to {spec.transfer_ownership}")
    return tuple(steps)


def _of_missing(work: PreparedJob, job: Job | None, world: World) -> Verdict:
    if job and job.handed_to:
        why = f"was handed over to {job.handed_to} and is hidden from you"
        return Verdict(Action.OWNER, (why,), (), _ASK_OWNER)
    if job and job.phase is Phase.BEATEN:
        return Verdict(Action.UNCHANGED, ("another of its matrix was kept, this one deleted",))
    if lacks := lacking(work, world.lacks):
        return Verdict(Action.CANNOT, tuple(lacks), (), _elsewhere(work))
    source = work.spec.tuned_model_source
    gone = _base_gone(work.spec.base_model, world) if not source else _source_gone(source, world)
    if gone:
        return gone
    why = "no such model yet"
    if source and source not in world.models:
        why = f"tuned from {source}, once that is there"
    elif job and job.phase is not Phase.SUBMIT:
        why = "is gone from the service"
    return Verdict(Action.CREATE, (why,), wished(work))


def _base_gone(base: str, world: World) -> Verdict | None:
    found = world.bases.get(base)
    if found is None:
        near = get_close_matches(base, world.bases, n=SHOWN, cutoff=0.0)
        offers = f"it offers {', '.join(near)}" if near else "it offers none"
        why = f"{world.address} has no {base}; {offers}"
        models = list(world.bases.values())
        return Verdict(Action.BASE_GONE, (why,), (), way_out(models, world.address))
    if METHOD not in found.supported_generation_methods:
        why = f"{world.address} cannot tune {base}: {METHOD} is not among its methods"
        models = list(world.bases.values())
        return Verdict(Action.CANNOT, (why,), (), way_out(models, world.address))
    return None


def _source_gone(source: str, world: World) -> Verdict | None:
    if source in world.models or source in world.wanted:
        return None
    why = f"{source} is not there, or hidden from you"
    return Verdict(Action.BASE_GONE, (why,), (), "see `tuner models list`")


def _elsewhere(work: PreparedJob) -> str:
    local = "" if work.spec.target.kind == "local" else ", or tune with `target: local`"
    return f"take it out of the spec{local}"


def _of_failed(work: PreparedJob, job: Job | None) -> Verdict:
    if job and job.retry:
        why = "failed; a retry was asked for"
        return Verdict(Action.RESUME, (why,), ("delete", *wished(work)))
    why = (job.error if job else "") or "the service lists the model as FAILED"
    return Verdict(Action.FAILED, (why,), (), AGAIN)


def _progress(found: TunedModel, work: PreparedJob) -> str:
    done = found.snapshots[-1].step if found.snapshots else 0
    return f"tuning, step {done} of {total_steps(len(work.examples), found.hyperparameters)}"


def _of_tuned(found: TunedModel, work: PreparedJob, job: Job | None, world: World) -> Verdict:
    """Tuned already: what is left of evaluating, sharing and handing over."""
    name, asked = found.name, work.spec.evaluation
    if job and job.phase is Phase.BEATEN:
        return Verdict(Action.UNCHANGED, ("another of its matrix was kept",))
    is_evaluated = not asked or gate.stands(job.evaluation if job else None, work, found)
    if job and is_evaluated and (missed := _missed(job, work)):
        stays = "; what it was given before stays" if job.allowed else ""
        fix = "`tuner run --force-share` shares it nevertheless"
        return Verdict(Action.REJECTED, (f"misses its gate: {missed}{stays}",), (), fix)
    if obstacle := _obstacle(name, work, job, world):
        return obstacle
    if not is_evaluated:
        return _unevaluated(name, work, job, world)
    return _shared(found, work, job, world)


def _missed(job: Job, work: PreparedJob) -> str:
    """What the gate asked now misses by the scores kept, and nobody has overruled."""
    asked, kept = work.spec.evaluation, job.evaluation
    missed = "; ".join(gate.shortfalls(kept, asked)) if kept and asked else ""
    return "" if job.force or gate.was_forced(job.allowed, missed) else missed


def _obstacle(name: str, work: PreparedJob, job: Job | None, world: World) -> Verdict | None:
    """Why nothing can be done about a model that is there: whose it is."""
    heir, owner = work.spec.transfer_ownership, world.owner(name)
    if name not in world.permissions:
        if job and job.handed_to and job.phase is Phase.DONE:
            why = f"handed over to {job.handed_to}; permissions are theirs to see"
            return Verdict(Action.UNCHANGED, (why, *_overruled(job)))
        return Verdict(Action.OWNER, ("is another's, who may use it is hidden",), (), _ASK_OWNER)
    if heir and owner != heir.casefold() and name not in world.mine:
        why = f"owner is {owner or 'another'}, the spec says {heir}"
        return Verdict(Action.OWNER, (why,), (), _ASK_OWNER)
    return None


def _unevaluated(name: str, work: PreparedJob, job: Job | None, world: World) -> Verdict:
    changes = ("evaluate", *_left(name, work, world))
    if job and not job.phase.is_end:
        return Verdict(Action.RESUME, ("tuned, not evaluated yet",), changes)
    if job:
        why = "tuned already; its held-out rows, their metric or the model are new"
        return Verdict(Action.ADOPT, (why,), changes)
    return Verdict(Action.ADOPT, _unknown(work), changes)


def _unknown(work: PreparedJob) -> tuple[str, ...]:
    whys = ["tuned already, unknown to this ledger"]
    if work.spec.tuned_model_id:
        whys.append("its examples cannot be compared: the id was chosen by hand")
    return tuple(whys)


def _shared(found: TunedModel, work: PreparedJob, job: Job | None, world: World) -> Verdict:
    """Tuned, and nothing is in the way of sharing it."""
    name = found.name
    changes = tuple(_left(name, work, world))
    more = (*_overruled(job), *_settings(found, work), *_strangers(name, work, world))
    cannot = [why for why in lacking(work, world.lacks) if "tuned_model_source" not in why]
    if changes and cannot:
        return Verdict(Action.CANNOT, tuple(cannot), (), _elsewhere(work))
    if job is None:
        return Verdict(Action.ADOPT, (*_unknown(work), *more), changes)
    if job.phase is Phase.REJECTED:
        why = (
            "its gate is overruled" if job.force else "was rejected, and passes the gate asked now"
        )
        return Verdict(Action.RESUME, (why, *more), changes)
    if not job.phase.is_end:
        return Verdict(Action.RESUME, ("tuned; what comes after is not finished", *more), changes)
    if changes:
        return Verdict(Action.DRIFT, ("permissions or owner differ from the spec", *more), changes)
    return Verdict(Action.UNCHANGED, ("tuned from the same content, shared as it says", *more))


def _left(name: str, work: PreparedJob, world: World) -> Iterator[str]:
    """Which grants and whether a transfer are still to be made."""
    held = {each.grant.grantee: each.grant.role for each in world.permissions.get(name, ())}
    for grant in work.spec.grants:
        role = held.get(grant.grantee)
        if role is None:
            yield f"grant {grant}"
        elif role not in (grant.role, Role.OWNER):
            who = grant.email_address or "everyone"
            yield f"change {who} from {role.lower()} to {grant.role.lower()}"
    heir = work.spec.transfer_ownership
    if heir and world.owner(name) != heir.casefold():
        yield f"transfer to {heir}"


def _overruled(job: Job | None) -> Iterator[str]:
    """That a person let it be shared, not its gate."""
    if job and gate.is_forced(job.allowed):
        yield f"its gate was not met: {job.allowed}"


def _settings(found: TunedModel, work: PreparedJob) -> Iterator[str]:
    """What a run leaves alone: it can be changed at any time."""
    for key in ("display_name", "description", "temperature", "top_p", "top_k"):
        asked, has = getattr(work.spec, key), getattr(found, key)
        if isinstance(asked, float) and has is not None:
            has = asked if isclose(asked, has, rel_tol=1e-6) else has  # it travels in 32 bits
        if asked not in (None, "", has):
            yield f"{key} differs: `tuner models update` changes it"


def _strangers(name: str, work: PreparedJob, world: World) -> list[str]:
    """Who may use it without being asked for; after a transfer one writer is the former owner."""
    asked = {grant.grantee for grant in work.spec.grants}
    others = [
        each.grant
        for each in world.permissions.get(name, ())
        if each.grant.role is not Role.OWNER and each.grant.grantee not in asked
    ]
    writers = [grant for grant in others if grant.role is Role.WRITER]
    if work.spec.transfer_ownership and name not in world.mine and len(writers) == 1:
        others.remove(writers[0])
    return [f"{grant} is not in the spec; left alone" for grant in others]
