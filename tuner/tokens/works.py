"""The tokens of a job's examples, where the tokenizer of its base model is on this disk."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from tuner.errors import RequestRefused
from tuner.tokens.counting import open_counter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.jobspec.prepared_job import PreparedJob


def token_counter() -> Callable[[PreparedJob], int | None]:
    """Counts the tokens of all examples of a work, once over; None where they cannot be counted here.

    Each model is opened once; examples that several works share are counted once.
    """
    open_ = cache(open_counter)
    known: dict[tuple[str, int], tuple[object, int]] = {}  # the examples are kept: ids are reused

    def count(work: PreparedJob) -> int | None:
        spec, examples = work.spec, work.examples
        if spec.target.kind != "local" or spec.target.endpoint or not spec.base_model:
            return None
        counter = open_(spec.base_model)
        if counter is None:
            return None
        key = spec.base_model, id(examples)
        if key not in known:
            rows = counter.count(
                (each.text_input for each in examples), (each.output for each in examples)
            )
            try:
                known[key] = examples, sum(map(sum, rows))
            except RequestRefused:  # the tuning will say it
                return None
        return known[key][1]

    return count
