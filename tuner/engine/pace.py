"""How long a tuning will take on this machine: measured with a few real steps, and remembered."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from math import log2
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.engine.calibration import Trial
from tuner.engine.threads import CALM, available

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

BUDGET_S = 8.0
"""For the steps; the model is loaded before, and a step that has begun is finished."""
LONGEST_S = 120.0
"""A machine on which one step takes longer is not measured."""
BATCHES = 16
"""At most so many batches are measured; the loop sorts rows by length within half as many."""
_STEEP = 0.2
"""Lengths of batches that differ by less, one standard deviation, say nothing about the slope."""


class Pace(NamedTuple):
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
    """What to measure: a model, and rows like those it is to be tuned on.

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


def remembered(sample: Sample, file: Path) -> Pace | None:
    """The pace that was measured before for this model, machine, batch size and about this length."""
    try:
        found = json.loads(file.read_text("utf-8"))[_key(sample)]
        return Pace(**found)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(sample: Sample, pace: Pace, file: Path) -> None:
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


def measure(sample: Sample, show: Callable[[int], None] = lambda _: None) -> Pace | None:
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
    return fitted(start, timed) if timed else None


def fitted(start: dict[str, Any], timed: Sequence[dict[str, Any]]) -> Pace:
    """The pace behind steps: a line through them, which falls nowhere and starts above nothing.

    The first step also warms up, so of several it counts for the start only.
    """
    later = timed[1:] or timed
    works = [float(each["computed"]) for each in later]
    times = [float(each["seconds"]) for each in later]
    work, mean = sum(works) / len(works), sum(times) / len(times)
    spread = sum((each - work) ** 2 for each in works)
    together = sum((w - work) * (t - mean) for w, t in zip(works, times, strict=True))
    is_steep = (spread / len(works)) ** 0.5 > _STEEP * work
    token_s = together / spread if is_steep else mean / work
    token_s = min(max(token_s, 0.0), mean / work)
    step_s = mean - token_s * work
    first = timed[0]
    surplus = first["seconds"] - step_s - token_s * first["computed"]
    computed = sum(each["computed"] for each in timed) / sum(each["tokens"] for each in timed)
    start_s = start["start_s"] + max(0.0, surplus)
    return Pace(start_s, step_s, token_s, computed, len(timed), start["threads"])


def _messages(task: str) -> Iterator[dict[str, Any]]:
    """What the measuring process says, as it says it; nothing any more when it takes too long."""
    with subprocess.Popen(
        [sys.executable, "-m", "tuner.engine.calibration"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **CALM},
        text=True,
        encoding="utf-8",
    ) as process:
        late = threading.Timer(LONGEST_S, process.kill)
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
        available(),
        sample.batch_size,
        length,
        version("tuner"),
        version("torch"),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
