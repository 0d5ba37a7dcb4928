"""What the simulator lets happen: a job or a pipeline drawn by chance, and what its end must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.crash.shapes import NOTIFY, Service
from tests.fakes.pipelines import RATES, grid, pipeline, single, variant
from tests.fakes.work import GRANTS
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.jobspec.schema import EarlyStopping, EvaluationSpec, GateSpec

if TYPE_CHECKING:
    from random import Random

    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.model import Pipeline

HEIR = "lead@example.com"


class Story(NamedTuple):
    """Attributes:
    works: Jobs of their own; empty for a pipeline.
    pipeline: None for jobs.
    rights: How many of the held-out rows are answered rightly, by learning rate.
    failing: The learning rates that cannot be tuned.
    looks: How often a tuning is looked at until it ends.
    runners: How many at a time.
    retry, force: As ``run_pipeline``; ``force`` for jobs too.
    is_alone: Whether nobody else changes anything at the service.
    """

    works: tuple[PreparedJob, ...]
    pipeline: Pipeline | None
    rights: dict[float, int]
    failing: tuple[float, ...]
    looks: int
    runners: int
    retry: bool
    force: bool
    is_alone: bool

    def service(self) -> Service:
        """Where nothing has happened yet."""
        return Service(rights=self.rights, failing=self.failing, looks_until_done=self.looks)

    @property
    def plain(self) -> Story:
        """The same, with nobody to disturb it."""
        return self._replace(runners=1, is_alone=True)

    @property
    def is_settled(self) -> bool:
        """Whether there is one end it can have, however long everything takes."""
        races = any(work.spec.early_stopping for work in self.specs())
        is_fast = self.pipeline is not None and self.pipeline.fail_fast  # what had begun by then?
        return self.is_alone and not self.retry and not races and not is_fast

    def specs(self) -> list[PreparedJob]:
        """Of all jobs; what is tuned further stands with a source yet to be known."""
        stages = self.pipeline.stages if self.pipeline else ()
        return [*self.works, *(stage.work for stage in stages)]

    def unworthy(self) -> set[str]:
        """The models that miss their gates: to be held back, unless those are overruled."""
        return {new_tuned_model(work).name for work in self.specs() if not self._passes(work)}

    def _passes(self, work: PreparedJob) -> bool:
        asked, rate = work.spec.evaluation, work.spec.hyperparameters.learning_rate
        score = self.rights.get(rate, len(work.holdout)) / len(work.holdout)
        return asked is None or score >= (asked.require.at_least or 0.0)

    def rivals(self) -> set[str]:
        """The models of which one alone may be given away."""
        if self.pipeline is None or self.pipeline.groupings[0].keep != "best":
            return set()
        grid = self.pipeline.groupings[0].stages
        return {new_tuned_model(s.work).name for s in self.pipeline.stages if s.name in grid}


def draw(chance: Random) -> Story:
    """One of very many."""
    rates = RATES[: chance.randint(1, 3)]
    changes = {
        "notify": NOTIFY,
        "grants": GRANTS[: chance.randint(0, 2)],
        "transfer_ownership": chance.choice(["", HEIR, HEIR]),
        "evaluation": chance.choice([_gate(0.0), _gate(0.5), _gate(1.0)]),
    }
    if chance.random() < 0.1:
        changes["early_stopping"] = EarlyStopping(patience_steps=1, min_delta=10.0, window_steps=1)
    is_pipeline = chance.random() < 0.5
    works = tuple(variant(rate, **changes) for rate in rates)
    return Story(
        works=() if is_pipeline else works,
        pipeline=_pipeline(chance, rates, changes) if is_pipeline else None,
        rights={rate: chance.randint(0, 2) for rate in rates},
        failing=tuple(rate for rate in rates if chance.random() < 0.1),
        looks=chance.randint(1, 5),
        runners=chance.choice([1, 1, 2]),
        retry=chance.random() < 0.1,
        force=chance.random() < 0.2,
        is_alone=chance.random() < 0.7,
    )


def _gate(at_least: float) -> EvaluationSpec:
    return EvaluationSpec(holdout=0.2, require=GateSpec(at_least=at_least))


def _pipeline(chance: Random, rates: tuple[float, ...], changes: dict[str, object]) -> Pipeline:
    keep = chance.choice(["all", "best", "best"])
    losers = chance.choice(["keep", "delete"]) if keep == "best" else "keep"
    parts = [grid(rates, keep=keep, losers=losers, **changes)]
    if chance.random() < 0.5:
        source = "grid" if keep == "best" else ""
        after = {"evaluation": _gate(0.5), "notify": NOTIFY}
        parts.append(single("polish", after=("grid",), source=source, **after))
    return pipeline(*parts, max_parallel=chance.randint(0, 2), fail_fast=chance.random() < 0.2)
