"""Keeping the best of a grouping: choosing it once, and remembering the choice."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import NotAllowed, RequestRefused, TunerError
from tuner.events import events
from tuner.jobs.ledger import pipelines
from tuner.jobs.ledger.pipelines import Origin
from tuner.jobs.records import lock
from tuner.pipelines import winner
from tuner.pipelines.begun import patiently
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.job import Job
    from tuner.jobs.running.session import Session
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.begun import Begun
    from tuner.pipelines.spec import Grouping, Pipeline
    from tuner.pipelines.winner import Candidate
    from tuner.types import Permission

AT_ONCE = 16


async def choose(
    pipeline: Pipeline,
    grouping: Grouping,
    found: tuple[Sequence[Candidate], Sequence[Job]],
    begun: Mapping[str, Begun],
    session: Session,
) -> Candidate:
    """The one to keep: as the ledger says, else as the service shows, else the best; written down.

    ``found`` are the candidates, and those that were beaten before: deleted, or by another runner.

    Raises:
        TunerError: The candidates cannot be compared, the service or the ledger not be asked.
    """
    store = session.ledger.store
    candidates, before_them = found
    digest = winner.digest([*(each.job for each in candidates), *before_them])
    by_key = {winner.key(each.job): each for each in candidates}
    decided = pipelines.decided(store, pipeline.id, grouping.name)
    before = decided.get(digest, "")
    if before in by_key:
        return by_key[before]
    chosen = (
        _stays(candidates, set(decided.values()), begun)
        or await _standing(candidates, begun, session)
        or _best(grouping, candidates)
    )
    pipelines.decide(store, pipeline.id, grouping.name, digest, winner.key(chosen.job))
    settled = pipelines.decided(store, pipeline.id, grouping.name).get(digest, "")
    return by_key.get(settled, chosen)


async def stood_before(
    grouping: Grouping, begun: Mapping[str, Begun], pipeline: Pipeline, session: Session
) -> str:
    """The stage that was kept, and others deleted, before the ledger was lost; empty when none was.

    Some models of the grouping are not there, and the ledger knows of no decision about it: then
    what was kept is what has all that only the one that is kept is given, or what tuner.lock says.
    """
    found = [begun[name] for name in grouping.stages]
    if grouping.losers != "delete" or all(each.model is not None for each in found):
        return ""
    if pipelines.decided(session.ledger.store, pipeline.id, grouping.name):
        return ""
    candidates = [winner.Candidate(each.member.stage, each.job, each.work) for each in found]
    stands = await _standing(candidates, begun, session)
    return stands.stage if stands else ""


def beaten(candidate: Candidate, begun: Begun) -> Job:
    """A candidate's bookmark after another one was kept; a job of its own stays as it ended."""
    job, known = candidate.job, begun.known
    if begun.member.origin is Origin.OWN and known is not None:
        ended = known if known.phase.is_end else job
        return replace(job, phase=ended.phase, error=ended.error)
    return replace(job, phase=Phase.BEATEN, error="")


def _stays(
    candidates: Sequence[Candidate], winners: set[str], begun: Mapping[str, Begun]
) -> Candidate | None:
    """The one that won before, asked the same: what a retry or force adds comes too late."""
    stay = [each for each in candidates if winner.key(each.job) in winners]
    for each in stay:
        known = begun[each.stage].known
        was = known.evaluation.digest if known and known.evaluation else ""
        now = each.job.evaluation.digest if each.job.evaluation else ""
        if was == now and known and known.phase is not Phase.BEATEN:
            return each
    return None


async def _standing(
    candidates: Sequence[Candidate], begun: Mapping[str, Begun], session: Session
) -> Candidate | None:
    """As ``winner.standing`` says of those that the ledger does not explain, or as tuner.lock does."""
    explained = pipelines.winners(session.ledger.store)
    unknown = [
        each
        for each in candidates
        if begun[each.stage].member.origin is not Origin.OWN
        and winner.key(each.job) not in explained
    ]
    there = [each for each in unknown if begun[each.stage].model is not None]
    locked = _locked(candidates)
    is_unknown = any(each is locked for each in unknown)
    shown = winner.standing(there, await _held(there, session))
    return shown or (locked if is_unknown else None)


def _locked(candidates: Sequence[Candidate]) -> Candidate | None:
    """The one that tuner.lock says is done, when it says of all the others that they were beaten."""
    phases = [_locked_phase(each.job) for each in candidates]
    if sorted(phases) != [*["BEATEN"] * (len(phases) - 1), "DONE"]:
        return None
    return candidates[phases.index("DONE")]


def _locked_phase(job: Job) -> str:
    with suppress(TunerError):  # a damaged lock says nothing
        entry = lock.entry(Path(job.spec), lock.stage_of(job)) or {}
        return str(entry["phase"]) if entry.get("tuned_model") == job.tuned_model else ""
    return ""


async def _held(
    candidates: Sequence[Candidate], session: Session
) -> dict[str, Sequence[Permission]]:
    """What the service lists, by stage."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def held(candidate: Candidate) -> Sequence[Permission]:
        job = candidate.job
        async with slots:
            try:
                return await patiently(
                    session, job.target, lambda target: target.permissions(job.tuned_model)
                )
            except (NotAllowed, RequestRefused):
                return ()

    listings = await asyncio.gather(*map(held, candidates))
    return dict(zip((each.stage for each in candidates), listings, strict=True))


def _best(grouping: Grouping, candidates: Sequence[Candidate]) -> Candidate:
    why = winner.incomparable(candidates)
    chosen = winner.best(candidates)
    if why or chosen is None:
        raise TunerError(
            f"the best of {grouping.name} cannot be told: {why}",
            "give all of them the same evaluation, or keep: all",
        )
    return chosen


async def lock_beaten(job: Job, work: PreparedJob, session: Session) -> None:
    """Write what was beaten into tuner.lock, as far as that can be done."""
    with suppress(TunerError):
        await lock.keep(job, work, await session.target(job.target), (), session.tell)


def tell_best(chosen: Candidate, losers: Sequence[Job], session: Session) -> None:
    """Say who is kept, and who is not."""
    scored = chosen.job.evaluation
    metric = scored.metric if scored else ""
    session.tell(events.Won(chosen.job, metric, chosen.score, 1 + len(losers)))
    for job in losers:
        session.tell(events.Beaten(job, chosen.job.title))
