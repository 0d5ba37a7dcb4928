"""What a running job tells those who watch it, each event with the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.jobs.figures import figure
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.job import Evaluation, Job
    from tuner.types import Operation

    Tell = Callable[["Event"], None]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to ``job``; as text, a line about it that does not name the job."""

    job: Job


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """A look at the running operation."""

    operation: Operation

    @property
    def mean_loss(self) -> float | None:
        """The latest, in nats a token; None before the first snapshot."""
        snapshots = self.operation.snapshots
        return snapshots[-1].mean_loss if snapshots else None

    @property
    def amounts(self) -> tuple[int, int]:
        """Steps done, of how many."""
        return self.operation.completed_steps, self.operation.total_steps

    def __str__(self) -> str:
        """Steps and loss, the mean over the last eighth of all steps: one batch's says little."""
        done, total = self.amounts
        snapshots = self.operation.snapshots
        before = (snapshots[-1].step if snapshots else 0) - max(1, total // 8)
        recent = [each.mean_loss for each in snapshots if each.step > before]
        loss = f", loss {figure(sum(recent) / len(recent))}" if recent else ""
        return f"tuning, step {done} of {total}{loss}"


@dataclass(frozen=True, slots=True)
class Measured(Event):
    """About how many tokens a step of the running tuning takes."""

    tokens_per_step: int

    def __str__(self) -> str:
        """The estimate."""
        return f"about {self.tokens_per_step} tokens a step"


@dataclass(frozen=True, slots=True)
class Tuned(Event):
    """The tuning is finished and the model is ACTIVE."""

    def __str__(self) -> str:
        """The model's state."""
        return f"tuned: {self.job.tuned_model} is ACTIVE"


@dataclass(frozen=True, slots=True)
class Evaluating(Event):
    """``done`` of ``total`` answers on held-out rows are in, base and tuned together."""

    done: int
    total: int

    @property
    def amounts(self) -> tuple[int, int]:
        """Answers done, of how many."""
        return self.done, self.total

    def __str__(self) -> str:
        """How far."""
        return f"evaluating on held-out rows, {self.done} of {self.total} answers"


@dataclass(frozen=True, slots=True)
class Judging(Evaluating):
    """``done`` of ``total`` different answers were judged by a model."""

    def __str__(self) -> str:
        """How far."""
        return f"judging, {self.done} of {self.total} answers"


@dataclass(frozen=True, slots=True)
class Evaluated(Event):
    """The held-out rows were answered by both models, or had been in an earlier run (``kept``)."""

    evaluation: Evaluation
    kept: bool = False

    def __str__(self) -> str:
        """Tuned against base."""
        return f"{self.evaluation}{', from an earlier run' if self.kept else ''}"


@dataclass(frozen=True, slots=True)
class Stopping(Event):
    """The tuning will be cancelled."""

    why: str

    def __str__(self) -> str:
        """Why."""
        return f"stopping early: {self.why}"


@dataclass(frozen=True, slots=True)
class Watching(Event):
    """Another runner works on the job; this one looks on."""

    holder: str

    def __str__(self) -> str:
        """Who."""
        return f"{self.holder} works on it: watching"


@dataclass(frozen=True, slots=True)
class TakenOver(Event):
    """The runner that worked on the job is gone; this one goes on."""

    holder: str

    def __str__(self) -> str:
        """From whom."""
        return f"taken over from {self.holder}, which is gone"


@dataclass(frozen=True, slots=True)
class Retrying(Event):
    """A job that failed is tuned again."""

    def __str__(self) -> str:
        """Which try it is."""
        return f"tuned again, try {self.job.attempt}"


@dataclass(frozen=True, slots=True)
class Won(Event):
    """The best of a matrix: it is kept, shared and handed over."""

    metric: str
    score: float
    of: int

    def __str__(self) -> str:
        """By what, among how many."""
        return f"the best of {self.of} by {self.metric}, {figure(self.score)}"


@dataclass(frozen=True, slots=True)
class Beaten(Event):
    """Another of the matrix is better."""

    winner: str

    def __str__(self) -> str:
        """Which."""
        return f"{self.winner} is better"


@dataclass(frozen=True, slots=True)
class Skipped(Event):
    """A job of a pipeline that is not begun."""

    why: str

    def __str__(self) -> str:
        """Why."""
        return f"skipped: {self.why}"


@dataclass(frozen=True, slots=True)
class Undelivered(Event):
    """Somebody could not be told."""

    sink: str
    why: str

    def __str__(self) -> str:
        """Who, and why."""
        return f"could not tell {self.sink}: {self.why}"


@dataclass(frozen=True, slots=True)
class NotLocked(Event):
    """What the job was made of could not be written down beside its spec."""

    why: str

    def __str__(self) -> str:
        """Why."""
        return f"not locked: {self.why}"


@dataclass(frozen=True, slots=True)
class Waiting(Event):
    """The target does not answer; it is asked again in ``seconds``."""

    reason: str
    seconds: float

    def __str__(self) -> str:
        """Why, and for how long."""
        return f"trying again in {self.seconds:.0f} s: {self.reason}"


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """The job is over; ``changed`` tells whether this run did anything."""

    changed: bool

    def __str__(self) -> str:
        """How it ended."""
        if self.job.phase is not Phase.DONE:
            return f"{self.job.phase.lower()}: {self.job.error}"
        return "done" if self.changed else "nothing to do: everything is as the spec says"
