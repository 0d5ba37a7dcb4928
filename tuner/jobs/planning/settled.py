"""What a plan leaves to a run of many jobs: what is to be followed, what is settled, what stops it all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.errors import InvalidInput, NotAllowed, Problem
from tuner.jobs.outcome import Outcome
from tuner.jobs.planning.verdict import Action
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.job import Job
    from tuner.jobs.planning.plan import Item
    from tuner.jobspec.prepared_job import PreparedJob

    Pair = tuple[Job, PreparedJob]


def refuse_blocked(items: Sequence[Item]) -> None:
    """Begin nothing when some of it cannot be done.

    Raises:
        InvalidInput: What cannot be done, all of it.
    """
    problems = [
        Problem(str(item.path), 0, 0, f"{item.title}: {'; '.join(item.reasons)}", item.fix)
        for item in items
        if item.is_blocked
    ]
    if problems:
        raise InvalidInput(problems)


def parted(pairs: Sequence[Pair], items: Sequence[Item]) -> tuple[list[Pair], list[Outcome]]:
    """Those to follow, and what became already of those that a run leaves as they are.

    Args:
        pairs: Bookmarks to go on from.
        items: Their plan, in any order, and perhaps that of others.
    """
    by_model = {(item.work.spec.target, item.tuned_model): item for item in items}
    left: list[Pair] = []
    settled: list[Outcome] = []
    for job, work in pairs:
        item = by_model[job.target, job.tuned_model]
        if outcome := _settled(job, item):
            settled.append(outcome)
        elif item.action is Action.CREATE:  # gone from the service, whatever the ledger says
            left.append((replace(job, phase=Phase.SUBMIT), work))
        else:
            left.append((job, work))
    return left, settled


def _settled(job: Job, item: Item) -> Outcome | None:
    """What became of a job that is not followed; None for one that is."""
    known = item.job
    if known and (item.action is Action.UNCHANGED or _is_rejected(known, item)):
        return Outcome(known, is_news=False)
    if item.action is Action.OWNER:
        what = f"{item.title}: {'; '.join(item.reasons)}"
        return Outcome(job, NotAllowed(what, item.fix), is_news=False)
    return None


def _is_rejected(known: Job, item: Item) -> bool:
    """Whether the ledger says so already: what another gate refuses is followed, and written down."""
    is_told = known.phase is Phase.REJECTED and known.error in "; ".join(item.reasons)
    return item.action is Action.REJECTED and is_told
