"""Estimate how long a tuning takes on this machine, from a few real training steps.

The steps run in a child process, ``python -m tuner.engine.time_estimate``, like a tuning's: torch reads
its threads' settings when it is loaded. The result is cached in a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.engine import EngineError
from tuner.engine.child_process import OPENMP_PASSIVE_ENV, available_cpus
from tuner.types import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tuner.engine.batches import Row
    from tuner.engine.train import TrainingPlan

BUDGET_S = 8.0  # for the steps, without loading the model
MAX_MEASURE_S = 120.0  # a machine that needs longer for one step is not measured
MAX_BATCHES = 16
MIN_STEPS = 2
LEARNING_RATE = 1e-4
NICENESS = 10  # as a worker
_MIN_LENGTH_SPREAD = 0.2  # relative standard deviation of batch sizes needed to fit a slope


class TimeEstimate(NamedTuple):
    """Measured durations, valid for tunings of similar batches.

    Attributes:
        start_s: From the start of the process to the first step, including that step's warm-up.
        step_s: Fixed duration of every step.
        token_s: Duration per computed token.
        computed: Share of the tokens that is computed; a prefix shared by many rows is computed once.
        steps: Number of measured steps.
        threads: CPUs of this machine.
    """

    start_s: float
    step_s: float
    token_s: float
    computed: float
    steps: int
    threads: int

    def seconds(self, steps: int, tokens: int) -> float:
        """Return the duration of a tuning with this many steps and tokens, all epochs counted."""
        return self.start_s + steps * self.step_s + tokens * self.computed * self.token_s


@dataclass(frozen=True, slots=True)
class Sample:
    """What to measure: a base model, and rows representative of those to tune on.

    Attributes:
        folder: Of the base model.
        limit: Maximum tokens of an example; longer ones are skipped.
        examples: Pairs of text (with instruction) and output.
        batch_size: Of the tuning.
        tokens_a_row: Mean over all rows.
    """

    folder: Path
    limit: int
    examples: Sequence[tuple[str, str]]
    batch_size: int
    tokens_a_row: float


@dataclass(frozen=True, slots=True)
class TimedStep:
    """One training step: its duration, its tokens, and how many of these were computed."""

    seconds: float
    tokens: int
    computed: int


def load_estimate(sample: Sample, file: Path) -> TimeEstimate | None:
    """Return the cached estimate for this model, machine, batch size and approximate row length."""
    try:
        return TimeEstimate(**json.loads(file.read_text("utf-8"))[_key(sample)])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save_estimate(sample: Sample, estimate: TimeEstimate, file: Path) -> None:
    """Cache an estimate; failure to write only costs the next measurement."""
    try:
        known = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    part = file.with_name(f".{file.name}.part")
    try:
        content = {**known, _key(sample): estimate._asdict()}
        part.write_text(json.dumps(content, indent=2), encoding="utf-8")
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)


def measure_estimate(
    sample: Sample, on_step: Callable[[int], None] = lambda _: None
) -> TimeEstimate | None:
    """Run a few steps in a child process; return None if that fails.

    Args:
        sample: What to run.
        on_step: Called with the number of steps done so far.
    """
    start: dict[str, Any] = {}
    timed: list[dict[str, Any]] = []
    for message in _child_messages(json.dumps(asdict(sample), default=str)):
        if "start_s" in message:
            start = message
        elif "seconds" in message:
            timed.append(message)
            on_step(len(timed))
    return fit(start, timed) if timed else None


def fit(start: dict[str, Any], timed: Sequence[dict[str, Any]]) -> TimeEstimate:
    """Fit duration = step_s + token_s * computed tokens by least squares, both at least 0.

    The first of several steps includes warm-up and counts only towards ``start_s``.
    """
    later = timed[1:] or timed
    tokens = [float(each["computed"]) for each in later]
    times = [float(each["seconds"]) for each in later]
    mean_tokens, mean_time = sum(tokens) / len(tokens), sum(times) / len(times)
    variance = sum((each - mean_tokens) ** 2 for each in tokens)
    covariance = sum(
        (n - mean_tokens) * (t - mean_time) for n, t in zip(tokens, times, strict=True)
    )
    varies = (variance / len(tokens)) ** 0.5 > _MIN_LENGTH_SPREAD * mean_tokens
    token_s = covariance / variance if varies else mean_time / mean_tokens
    token_s = min(max(token_s, 0.0), mean_time / mean_tokens)
    step_s = mean_time - token_s * mean_tokens
    first = timed[0]
    warmup_s = first["seconds"] - step_s - token_s * first["computed"]
    computed = sum(each["computed"] for each in timed) / sum(each["tokens"] for each in timed)
    start_s = start["start_s"] + max(0.0, warmup_s)
    return TimeEstimate(start_s, step_s, token_s, computed, len(timed), start["threads"])


def timed_steps(sample: Sample, budget_s: float) -> Iterator[TimedStep]:
    """Run training steps, at least one, until the budget or the examples are used up.

    No step starts later than ``budget_s`` after the first one; the second may start within twice that
    time, since the first includes warm-up.
    """
    import torch

    from tuner.engine import batches, checkpoint, models
    from tuner.engine.chat import open_chat
    from tuner.engine.train import TrainingPlan, train

    torch.set_deterministic_debug_mode("error")  # as in a worker: it costs time
    model = models.load(sample.folder)
    examples = [Example(*each) for each in sample.examples]
    rows = batches.rows(examples, open_chat(sample.folder), sys.maxsize)
    rows = [row for row in rows if len(row) <= sample.limit]
    plan = TrainingPlan(1, sample.batch_size, LEARNING_RATE, 0, available_cpus())
    progress = checkpoint.initial_progress(model.new_adapter(0))
    model.trainable(progress.adapter)
    began = last = time.monotonic()
    for step, _ in train(model, rows, plan, progress):
        now = time.monotonic()
        yield TimedStep(now - last, step.tokens, _computed_tokens(rows, plan, step.step))
        last = now
        if now - began >= budget_s * (1 if step.step >= MIN_STEPS else 2):
            return


def packed_tokens(part: Sequence[Row]) -> int:
    """Count the tokens of a micro-batch that are computed: a shared prefix counts once."""
    low, high = min(row.prompt for row in part), max(row.prompt for row in part)
    pairs = zip(low, high, strict=False)
    alike = next((at for at, (one, other) in enumerate(pairs) if one != other), len(low))
    prefix = min(alike, min(len(row.prompt) for row in part) - 1)
    return sum(map(len, part)) - prefix * (len(part) - 1)


def main() -> None:
    """Measure the sample on standard input; print one JSON line for the start and one per step."""
    began = time.monotonic()
    os.nice(NICENESS)
    fields = json.load(sys.stdin)
    sample = Sample(**{**fields, "folder": Path(fields["folder"])})
    try:
        for number, timed in enumerate(timed_steps(sample, BUDGET_S)):
            if number == 0:
                start_s = time.monotonic() - began - timed.seconds
                _print_message(start_s=start_s, threads=available_cpus())
            _print_message(**asdict(timed))
    except EngineError as error:
        _print_message(error=str(error))


def _computed_tokens(rows: Sequence[Row], plan: TrainingPlan, step: int) -> int:
    """Tokens computed in a step, as ``attention.pack`` arranges them."""
    from tuner.engine import batches

    batch = batches.epoch(rows, plan.batch_size, plan.seed, 1)[step - 1]
    shares = batches.deal(batch, max(1, min(plan.threads, plan.batch_size)))
    return sum(packed_tokens(part) for share in shares for part in batches.micro(share))


def _print_message(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _child_messages(sample: str) -> Iterator[dict[str, Any]]:
    """Yield the child's messages as they arrive; the child is killed after MAX_MEASURE_S."""
    with subprocess.Popen(
        [sys.executable, "-m", "tuner.engine.time_estimate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **OPENMP_PASSIVE_ENV},
        text=True,
        encoding="utf-8",
    ) as process:
        timer = threading.Timer(MAX_MEASURE_S, process.kill)
        timer.start()
        try:
            assert process.stdin  # noqa: S101 -- for the type checker: both are pipes
            assert process.stdout  # noqa: S101
            process.stdin.write(sample)
            process.stdin.close()
            yield from map(json.loads, process.stdout)
        finally:
            timer.cancel()
            process.kill()


def _key(sample: Sample) -> str:
    """What an estimate depends on; lengths within a factor of sqrt(2) share one."""
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


if __name__ == "__main__":
    main()
