"""How long a tuning will take on this machine: measured with a few real steps, and load_estimate."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.engine import EngineError, child_process
from tuner.engine.child_process import OPENMP_PASSIVE_ENV, available_cpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tuner.engine.batches import Row

BUDGET_S = 8.0
"""For the steps; the model is loaded before, and a step that has begun is finished."""
MAX_MEASURE_S = 120.0
"""A machine on which one step takes longer is not measured."""
MAX_BATCHES = 16
"""At most so many batches are measured; the loop sorts rows by length within half as many."""
_MIN_LENGTH_SPREAD = 0.2
"""Lengths of batches that differ by less, one standard deviation, say nothing about the slope."""


class TimeEstimate(NamedTuple):
    """What was measured, and what stays the same for tunings of this size.

    Attributes:
        start_s: From the start of the process to the first step, the first step's surplus included.
        step_s: What every step takes, however short.
        token_s: What every computed token adds.
        computed: Which part of the tokens is computed; the rest is begun alike in many rows.
        steps: How many were measured.
        threads: Of the machine.
    """

    start_s: float
    step_s: float
    token_s: float
    computed: float
    steps: int
    threads: int

    def seconds(self, steps: int, tokens: int) -> float:
        """Of a tuning of so many steps on so many tokens, all epochs counted."""
        return self.start_s + steps * self.step_s + tokens * self.computed * self.token_s


@dataclass(frozen=True, slots=True)
class Sample:
    """What to measure_estimate: a model, and rows like those it is to be tuned on.

    Attributes:
        folder: Of the base model.
        limit: Tokens of an example that it takes at most.
        examples: Text with instruction, and output; spread over all rows.
        batch_size: Of the tuning.
        tokens_a_row: The mean over all rows.
    """

    folder: Path
    limit: int
    examples: Sequence[tuple[str, str]]
    batch_size: int
    tokens_a_row: float


def load_estimate(sample: Sample, file: Path) -> TimeEstimate | None:
    """The pace that was measured before for this model, machine, batch size and about this length."""
    try:
        found = json.loads(file.read_text("utf-8"))[_key(sample)]
        return TimeEstimate(**found)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save_estimate(sample: Sample, pace: TimeEstimate, file: Path) -> None:
    """Keep a pace; a file that cannot be written costs nothing but the next measurement."""
    try:
        known = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    part = file.with_name(f".{file.name}.part")
    try:
        kept = {**known, _key(sample): pace._asdict()}
        part.write_text(json.dumps(kept, indent=2), encoding="utf-8")
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)


def measure_estimate(
    sample: Sample, show: Callable[[int], None] = lambda _: None
) -> TimeEstimate | None:
    """Do a few steps in a process of its own; None when this machine cannot.

    Args:
        sample: What to do them with.
        show: Called with the number of steps done so far.
    """
    trial = Trial(str(sample.folder), sample.examples, sample.batch_size, sample.limit, BUDGET_S)
    start: dict[str, Any] = {}
    timed: list[dict[str, Any]] = []
    for message in _messages(json.dumps(asdict(trial))):
        if "start_s" in message:
            start = message
        elif "seconds" in message:
            timed.append(message)
            show(len(timed))
    return fit(start, timed) if timed else None


def fit(start: dict[str, Any], timed: Sequence[dict[str, Any]]) -> TimeEstimate:
    """The pace behind steps: a line through them, which falls nowhere and starts above nothing.

    The first step also warms up, so of several it counts for the start only.
    """
    later = timed[1:] or timed
    works = [float(each["computed"]) for each in later]
    times = [float(each["seconds"]) for each in later]
    work, mean = sum(works) / len(works), sum(times) / len(times)
    spread = sum((each - work) ** 2 for each in works)
    together = sum((w - work) * (t - mean) for w, t in zip(works, times, strict=True))
    is_steep = (spread / len(works)) ** 0.5 > _MIN_LENGTH_SPREAD * work
    token_s = together / spread if is_steep else mean / work
    token_s = min(max(token_s, 0.0), mean / work)
    step_s = mean - token_s * work
    first = timed[0]
    surplus = first["seconds"] - step_s - token_s * first["computed"]
    computed = sum(each["computed"] for each in timed) / sum(each["tokens"] for each in timed)
    start_s = start["start_s"] + max(0.0, surplus)
    return TimeEstimate(start_s, step_s, token_s, computed, len(timed), start["threads"])


def _messages(task: str) -> Iterator[dict[str, Any]]:
    """What the measuring process says, as it says it; nothing any more when it takes too long."""
    with subprocess.Popen(
        [sys.executable, "-m", "tuner.engine.time_estimate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **OPENMP_PASSIVE_ENV},
        text=True,
        encoding="utf-8",
    ) as process:
        late = threading.Timer(MAX_MEASURE_S, process.kill)
        late.start()
        try:
            assert process.stdin  # noqa: S101 -- for the type checker: both are pipes
            assert process.stdout  # noqa: S101
            process.stdin.write(task)
            process.stdin.close()
            yield from map(json.loads, process.stdout)
        finally:
            late.cancel()
            process.kill()


def _key(sample: Sample) -> str:
    """What a pace depends on; lengths within a factor of the root of two count as alike."""
    from importlib.metadata import version

    length = round(2 * log2(max(1.0, sample.tokens_a_row)))
    parts = (
        sample.folder,
        (sample.folder / "config.json").stat().st_mtime_ns,
        available_cpus(),
        sample.batch_size,
        length,
        version("tuner"),
        version("torch"),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


NICENESS = 10  # a worker's
MIN_STEPS = 2  # steps
LEARNING_RATE = 1e-4


@dataclass(frozen=True, slots=True)
class Trial:
    """What to timed_steps.

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
class TimedStep:
    """One step: how long it took, its tokens, and how many of them had to be computed.

    What the rows of a part begin with alike is computed once for all of them.
    """

    seconds: float
    tokens: int
    computed: int


def timed_steps(trial: Trial) -> Iterator[TimedStep]:
    """Do steps, at least one, until the budget or the examples are used up."""
    import torch

    from tuner.engine import checkpoint, models
    from tuner.engine.chat import open_chat
    from tuner.engine.train import TrainingPlan, train

    folder = Path(trial.folder)
    torch.set_deterministic_debug_mode("error")  # as a worker does: it costs time
    model = models.load(folder)
    rows = _rows(trial, open_chat(folder))
    count = child_process.available_cpus()
    plan = TrainingPlan(1, trial.batch_size, LEARNING_RATE, 0, count)
    start = checkpoint.initial_progress(model.new_adapter(0))
    model.trainable(start.adapter)
    began = last = time.monotonic()
    for step, _ in train(model, rows, plan, start):
        now = time.monotonic()
        yield TimedStep(now - last, step.tokens, _computed_tokens(rows, plan, step.step))
        last = now
        if now - began >= trial.budget_s * (1 if step.step >= MIN_STEPS else 2):
            return


def _rows(trial: Trial, chat: Any) -> list[Row]:
    from tuner.engine import batches
    from tuner.types import Example

    made = batches.rows([Example(*each) for each in trial.examples], chat, sys.maxsize)
    return [row for row in made if len(row) <= trial.limit]


def _computed_tokens(rows: Sequence[Row], plan: Any, step: int) -> int:
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
        for number, timed in enumerate(timed_steps(trial)):
            if number == 0:
                start_s = time.monotonic() - began - timed.seconds
                _print_message(start_s=start_s, threads=child_process.available_cpus())
            _print_message(**asdict(timed))
    except EngineError as error:
        _print_message(error=str(error))


def _print_message(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
