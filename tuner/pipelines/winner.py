"""Which job of a grouping is kept: the best one, or the one that was chosen before."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

from tuner.types import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.job import Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.types import Permission


class Candidate(NamedTuple):
    """A stage that may be kept: tuned, evaluated, and not refused by its gate."""

    stage: str
    job: Job
    work: PreparedJob

    @property
    def score(self) -> float:
        """Of the tuned model on the held-out rows, by the metric of its spec; 0 without any."""
        scored = self.job.evaluation
        return scored.tuned[scored.metric] if scored else 0.0


def best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The highest score; of equal ones that of fewer steps, then the first in the file."""
    return min(
        candidates, key=lambda each: (-each.score, each.job.total_steps), default=None
    )  # min keeps the first of equals


def incomparable(candidates: Sequence[Candidate]) -> str:
    """Why their scores say nothing about each other; empty when they do."""
    bare = [each.stage for each in candidates if each.job.evaluation is None]
    if bare and len(candidates) > 1:
        return f"{bare[0]} was not evaluated"
    first, *others = candidates
    for other in others:
        if _metric(other.work) != _metric(first.work):
            return f"{first.stage} and {other.stage} are scored by different metrics"
        if _outputs(other.work) != _outputs(first.work):
            return f"{first.stage} and {other.stage} are scored on different held-out rows"
    return ""


def standing(
    candidates: Sequence[Candidate], held: Mapping[str, Sequence[Permission]]
) -> Candidate | None:
    """The one that the service shows to have been kept before, whatever a ledger has forgotten.

    That is the only one owned by the heir its spec names, or, where nothing is to be handed over,
    the only one with permissions, when it has all that are asked for.

    Args:
        candidates: Those to choose from.
        held: What the service lists, by stage; a stage that is missing shows nothing.
    """
    told = [each for each in candidates if each.stage in held]
    heirs = [each for each in told if each.work.spec.transfer_ownership]
    if heirs:
        return _only([each for each in heirs if _owner(held[each.stage]) == _heir(each.work)])
    shared = _only([each for each in told if len(held[each.stage]) > 1])
    if shared is None or not shared.work.spec.grants:
        return None
    has = {each.grant.grantee: each.grant.role for each in held[shared.stage]}
    asked = shared.work.spec.grants
    is_whole = all(has.get(grant.grantee) in (grant.role, Role.OWNER) for grant in asked)
    return shared if is_whole else None


def digest(jobs: Sequence[Job]) -> str:
    """SHA-256, in hex, of what was compared: the models and what they were asked."""
    compared = sorted((key(job), job.evaluation.digest if job.evaluation else "") for job in jobs)
    return hashlib.sha256(json.dumps(compared).encode()).hexdigest()


def key(job: Job) -> str:
    """A model, wherever it is: ``local tunedModels/ID``."""
    return f"{job.where} {job.tuned_model}"


def _only(found: Sequence[Candidate]) -> Candidate | None:
    return found[0] if len(found) == 1 else None


def _metric(work: PreparedJob) -> object:
    return work.spec.evaluation and work.spec.evaluation.metric


def _outputs(work: PreparedJob) -> list[str]:
    return [row.output for row in work.holdout]


def _heir(work: PreparedJob) -> str:
    return work.spec.transfer_ownership.casefold()


def _owner(held: Sequence[Permission]) -> str:
    owners = [each.grant.email_address for each in held if each.grant.role is Role.OWNER]
    return owners[0].casefold() if owners else ""
