"""What a spec's examples are looked at for beside the rest: more tokens than its model takes."""

from __future__ import annotations

from functools import cache
from operator import add
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.data import Batch
    from tuner.data.checks.check import Checks
    from tuner.errors import Problem
    from tuner.jobspec.load import BatchCheck
    from tuner.jobspec.schema import JobSpec

FEW_CHARS = 1_900
"""Every model known takes so many, whatever they are: a character is four tokens at most, and the
template has its part. For data without a longer row nothing is opened, nor the engine imported."""


def long_examples(spec: JobSpec) -> BatchCheck:
    """Finds the examples of a spec that are too long, if its model is on this disk."""

    @cache
    def checks() -> Checks | None:
        return _checks(spec)

    def look(batch: Batch) -> Iterator[Problem]:
        sizes = map(add, map(len, batch.text_inputs), map(len, batch.outputs))
        most = FEW_CHARS - len(spec.training_data.instruction)
        if max(sizes, default=0) <= most or not (found := checks()):
            return
        yield from found.train(batch._replace(problems=()))

    return look


def _checks(spec: JobSpec) -> Checks | None:
    """Of nothing but that."""
    from tuner.data.checks.check import Checks
    from tuner.data.checks.rules import IGNORABLE
    from tuner.tokens.counting import open_counter
    from tuner.types import Limits

    rule, data, target = "long-example", spec.training_data, spec.target
    if target.kind != "local" or target.endpoint or rule in data.ignore or not spec.base_model:
        return None
    counter = open_counter(spec.base_model, data.instruction)
    if counter is None:
        return None
    others = frozenset(IGNORABLE) - {rule}
    limits = Limits(None, None, None)
    return Checks(limits, data.instruction, others, counter.totals, counter.limit)
