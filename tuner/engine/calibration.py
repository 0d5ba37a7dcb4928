"""Measure how fast this machine tunes: ``python -m tuner.engine.calibration``, a task on stdin.

It does a few real steps of the real loop and prints a line of JSON for what it found, then one for
each step. The adapter is thrown away. A process of its own, as a tuning's worker is: torch reads at
its start how its threads are to wait.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.engine import EngineError, threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.engine.batches import Row

NICENESS = 10  # a worker's
AT_LEAST = 2  # steps
LEARNING_RATE = 1e-4


@dataclass(frozen=True, slots=True)
class Trial:
    """What to measure.

    Attributes:
        folder: Of the base model.
        examples: ``[text_input, output]`` each, the instruction included; more than one batch.
        batch_size: Of the tuning that is asked about.
        limit: Tokens an example may have; longer ones are left out.
        budget_s: No step begins later than so long after the first one, but a second one that
            begins within twice that time: the first also warms up.
    """

    folder: str
    examples: Sequence[tuple[str, str]]
    batch_size: int
    limit: int
    budget_s: float


@dataclass(frozen=True, slots=True)
class Timed:
    """One step: how long it took, its tokens, and how many of them had to be computed.

    What the rows of a part begin with alike is computed once for all of them.
    """

    seconds: float
    tokens: int
    computed: int


def measure(trial: Trial) -> Iterator[Timed]:
    """Do steps, at least one, until the budget or the examples are used up."""
    import torch

    from tuner.engine import causal, checkpoints
    from tuner.engine.chat import open_chat
    from tuner.engine.loop import Plan, train

    folder = Path(trial.folder)
    torch.set_deterministic_debug_mode("error")  # as a worker does: it costs time
    model = causal.load(folder)
    rows = _rows(trial, open_chat(folder))
    count = threads.available()
    plan = Plan(1, trial.batch_size, LEARNING_RATE, 0, count)
    start = checkpoints.start(model.new_adapter(0))
    model.trainable(start.adapter)
    began = last = time.monotonic()
    for step, _ in train(model, rows, plan, start):
        now = time.monotonic()
        yield Timed(now - last, step.tokens, _computed(rows, plan, step.step))
        last = now
        if now - began >= trial.budget_s * (1 if step.step >= AT_LEAST else 2):
            return


def _rows(trial: Trial, chat: Any) -> list[Row]:
    from tuner.engine import batches
    from tuner.types import Example

    made = batches.rows([Example(*each) for each in trial.examples], chat, sys.maxsize)
    return [row for row in made if len(row) <= trial.limit]


def _computed(rows: Sequence[Row], plan: Any, step: int) -> int:
    """Tokens that the model went through at a step, as ``attention.pack`` lays them out."""
    from tuner.engine import batches

    batch = batches.epoch(rows, plan.batch_size, plan.seed, 1)[step - 1]
    shares = batches.deal(batch, max(1, min(plan.threads, plan.batch_size)))
    return sum(packed_tokens(part) for share in shares for part in batches.micro(share))


def packed_tokens(part: Sequence[Row]) -> int:
    """Tokens of rows that go through the model together, their common beginning counted once."""
    low, high = min(row.prompt for row in part), max(row.prompt for row in part)
    pairs = zip(low, high, strict=False)
    alike = next((at for at, (one, other) in enumerate(pairs) if one != other), len(low))
    common = min(alike, min(len(row.prompt) for row in part) - 1)
    return sum(map(len, part)) - common * (len(part) - 1)


def main() -> None:
    """Measure what stdin asks for; an error becomes a line, too."""
    began = time.monotonic()
    os.nice(NICENESS)
    trial = Trial(**json.load(sys.stdin))
    try:
        for number, timed in enumerate(measure(trial)):
            if number == 0:
                start_s = time.monotonic() - began - timed.seconds
                _say(start_s=start_s, threads=threads.available())
            _say(**asdict(timed))
    except EngineError as error:
        _say(error=str(error))


def _say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
