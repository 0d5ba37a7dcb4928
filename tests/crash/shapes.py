"""What is taken through crashes: a job, and a pipeline with everything in it; and how each must end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.fakes.pipelines import PipelineTarget, grid, model, pipeline, single
from tests.fakes.work import GRANTS, job_of
from tests.fakes.work import WORK as GIVEN
from tuner.jobspec.prepared_job import new_tuned_model, with_source
from tuner.jobspec.schema import GateSpec, Notify

if TYPE_CHECKING:
    from tuner.pipelines.model import Pipeline

HEIR = "lead@example.com"
NOTIFY = (Notify(url="https://hooks.example.com/tuner", on=("done", "transferred")),)
WORK = replace(GIVEN, spec=replace(GIVEN.spec, notify=NOTIFY))
JOB = job_of(WORK)
RIGHTS = {0.001: 1, 0.002: 2, 0.003: 1}

_GATE = replace(WORK.spec.evaluation, require=GateSpec(at_least=0.5))
_GRID = grid(losers="delete", notify=NOTIFY)
_POLISH = single("polish", after=("grid",), source="grid", evaluation=_GATE, notify=NOTIFY)
PIPELINE: Pipeline = pipeline(_GRID, _POLISH, max_parallel=2)
LOSERS = [model(stage) for stage in _GRID[0] if "0.002" not in stage.name]
WINNER = next(model(stage) for stage in _GRID[0] if "0.002" in stage.name)
POLISHED = f"tunedModels/{new_tuned_model(with_source(_POLISH[0][0].work, WINNER)).id}"
FILES = (WORK.spec.path, PIPELINE.path)
"""They must be there, for a notice of a file that is gone is given up; nobody reads them here."""


class Service(PipelineTarget):
    """A service, and somebody who is told how jobs end.

    Attributes:
        told: The ids of the notices, as they came.
    """

    def __init__(self, **changes: object) -> None:
        super().__init__(**changes)
        self.told: list[str] = []

    async def post(self, notice: str) -> None:
        self.told.append(notice)


def service() -> Service:
    """A service where nothing has happened yet."""
    return Service(rights=RIGHTS)


def given_away(name: str) -> list[tuple[str, ...]]:
    """All that is done to a model that is tuned, shared and handed over."""
    grants = [("grant", name, str(grant)) for grant in GRANTS]
    return [("create", name), *grants, ("transfer", name, HEIR)]


def effects(what: str) -> Counter[tuple[str, ...]]:
    """What must have been done in the end, each so often."""
    if what == "job":
        return Counter(given_away(JOB.tuned_model))
    done = [*given_away(WINNER), *given_away(POLISHED)]
    done += [(action, name) for name in LOSERS for action in ("create", "delete")]
    return Counter(done)


PHASES = {"job": ["DONE"], "pipeline": ["DONE", "DONE", "NOT SELECTED", "NOT SELECTED"]}
NOTICES = {"job": 2, "pipeline": 4}
"""Done and transferred, of each that is given away."""
EVALUATED = {"job": 1, "pipeline": 4}
MOMENTS = {"job": 90, "pipeline": 300}
"""How many moments there are at the least, so that nobody takes an empty list for a proof."""
