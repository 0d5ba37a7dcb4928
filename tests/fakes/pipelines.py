"""Pipelines made by hand, and a target in memory that runs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.fakes.target import Crash, FakeTarget
from tests.fakes.work import WORK
from tuner.jobspec.prepared_job import new_tuned_model
from tuner.pipelines.model import Grouping, Pipeline, Stage
from tuner.types import Hyperparameters, State

RATES = (0.001, 0.002, 0.003)


def variant(rate, **changes):
    """The work of one of a matrix over the learning rate."""
    spec = replace(WORK.spec, hyperparameters=Hyperparameters(learning_rate=rate), **changes)
    return replace(WORK, spec=spec)


def grid(rates=RATES, *, name="grid", keep="best", losers="keep", after=(), **changes):
    """The stages and the grouping of a matrix over the learning rate."""
    stages = tuple(
        Stage(f"{name}[r={rate}]", f"r={rate}", variant(rate, **changes), after, "", name)
        for rate in rates
    )
    return stages, Grouping(name, tuple(stage.name for stage in stages), keep, losers)


def single(name, *, after=(), source="", work=WORK, **changes):
    """A stage alone in its grouping, ungated; with a ``source`` it tunes that grouping's model further."""
    spec = replace(work.spec, job=name, **{"evaluation": None, **changes})
    if source:
        spec = replace(spec, base_model="", tuned_model_source=f"tunedModels/of-{source}")
    stage = Stage(name, "", replace(work, spec=spec), after, source, name)
    return (stage,), Grouping(name, (name,))


def pipeline(*parts, path="pipe.yaml", **changes):
    """What ``grid`` and ``single`` gave, in that order."""
    stages = tuple(stage for each, _ in parts for stage in each)
    groupings = tuple(grouping for _, grouping in parts)
    return Pipeline("pipe", Path(path), stages, groupings, **changes)


def model(stage):
    """The name of a stage's model."""
    return new_tuned_model(stage.work).name


class PipelineTarget(FakeTarget):
    """A fake that knows how good each model is, and counts how many tunings run at a time.

    Attributes:
        rights: How many held-out rows a model answers rightly, by its learning rate; else all.
        failing: The learning rates that cannot be tuned.
        most: How many tunings ran at a time, at the most.
        is_dead: A process that crashed calls nothing more, whatever else it was doing.
    """

    def __init__(self, rights=None, failing=(), **changes):
        super().__init__(**changes)
        self.rights, self.failing, self.most = rights or {}, failing, 0
        self.is_dead = False

    async def create(self, new):
        rows = WORK.holdout[: self.rights.get(new.hyperparameters.learning_rate, len(WORK.holdout))]
        self.answers[new.name] = {row.text_input: row.output for row in rows}
        try:
            return await super().create(new)
        finally:
            running = [each for each in self.held.values() if each.state is State.CREATING]
            self.most = max(self.most, len(running))

    def _strike(self):
        if self.is_dead:
            raise Crash
        try:
            super()._strike()
        except Crash:
            self.is_dead = True
            raise

    def _progress(self, operation):
        rate = self.held[operation.tuned_model].hyperparameters.learning_rate
        self.tuning_error = "the loss is not a number" if rate in self.failing else ""
        super()._progress(operation)
