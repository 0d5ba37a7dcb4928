"""The state of a job, and of the evaluation of its model."""

from __future__ import annotations

from dataclasses import dataclass, field

from tuner.formatting import format_number
from tuner.types import Phase, TargetConfig

FORCED = "forced by --force-share"
"""Start of ``Job.allowed`` if the gate was overridden."""
_WORDS = {"exact_match": "exact match", "normalized_match": "normalised"}


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A held-out row with the answers of both models, scored by the evaluation's metric from 0 to 1."""

    text_input: str
    expected: str
    tuned: str
    base: str
    line: int = 0
    tuned_score: float = 0.0
    base_score: float = 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """The 95 % confidence interval of the mean difference, tuned minus base."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of the tuned model and its base model on the held-out rows.

    Attributes:
        digest: Identifies the rows and settings, so that a stored evaluation is not used for others.
        metric: The metric of the gate.
        tuned, base: Mean scores from 0 to 1 by metric: ``exact_match``, ``normalized_match`` and
            ``metric``.
        count: Number of rows.
        interval: Of the difference in ``metric``; None for fewer than two rows.
        rows: The rows, if they were just evaluated; the store has them separately.
        model: Identity of the evaluated model; empty if unknown.
    """

    digest: str
    metric: str
    tuned: dict[str, float]
    base: dict[str, float]
    count: int
    interval: Interval | None = None
    rows: tuple[ScoredRow, ...] = field(default=(), repr=False, compare=False)
    model: str = ""

    def __str__(self) -> str:
        parts = [f"{words} {self._pair(name)}" for name, words in _WORDS.items()]
        if self.metric not in _WORDS:
            parts = [f"{self.metric} {self._pair(self.metric)}{self._difference()}", *parts]
        return f"{'; '.join(parts)}; {self.count} held-out rows"

    def _pair(self, name: str) -> str:
        return f"{format_number(self.tuned[name])} tuned, {format_number(self.base[name])} base"

    def _difference(self) -> str:
        if self.interval is None:
            return ""
        difference = self.tuned[self.metric] - self.base[self.metric]
        span = f"{format_number(self.interval.low)} to {format_number(self.interval.high)}"
        return f" ({'+' if difference > 0 else ''}{format_number(difference)}, {span})"


@dataclass(frozen=True, slots=True)
class Job:
    """The stored state of a job; everything else is read from the service.

    Attributes:
        name: ``job:`` of the spec, or the name of a pipeline's entry.
        target: Where it runs.
        tuned_model: ``tunedModels/ID``; set before anything is sent.
        content: ID derived from the content; differs from ``tuned_model`` if the spec or ``--new`` set
            another ID.
        spec: Absolute path of the spec; empty if spec or examples were given in Python.
        overrides: Values of ``--set``.
        phase: The next step.
        operation: Name of the tuning's operation; empty until known.
        total_steps, completed_steps, mean_loss: Latest progress of the tuning.
        evaluation: None until the model was evaluated.
        handed_to: The new owner after a transfer; the model may be hidden from us then.
        error: Why the job failed or was cancelled or rejected.
        label: The variant of a matrix, e.g. ``learning_rate=0.001 batch_size=4``.
        allowed: Why sharing is allowed: the gate was met, there is none, or it was overridden. For a job
            rejected later, why it was allowed before.
        force: Whether ``--force-share`` overrides the gate.
        retry: Whether to delete a failed model of this ID, once, before the next create.
        attempt: Incremented by every retry, and when a deleted model is tuned again.
        stopping: Why the tuning is being cancelled; saved before the cancel call.
        best_of: Number of variants it was selected from; 0 if there was no selection.
    """

    name: str
    target: TargetConfig
    tuned_model: str
    content: str
    spec: str
    overrides: tuple[str, ...] = ()
    phase: Phase = Phase.SUBMIT
    operation: str = ""
    total_steps: int = 0
    completed_steps: int = 0
    mean_loss: float | None = None
    evaluation: Evaluation | None = None
    handed_to: str = ""
    error: str = ""
    label: str = ""
    allowed: str = ""
    force: bool = False
    retry: bool = False
    attempt: int = 1
    stopping: str = ""
    best_of: int = 0

    @property
    def is_forced(self) -> bool:
        """Whether sharing was allowed by ``--force-share`` and not by the gate."""
        return self.allowed.startswith(FORCED)

    @property
    def title(self) -> str:
        """The name with the variant of a matrix."""
        return f"{self.name}[{self.label}]" if self.label else self.name

    @property
    def is_on_disk(self) -> bool:
        """Whether the job can be loaded again from files."""
        return bool(self.spec)

    @property
    def where(self) -> str:
        """Short name of the target."""
        return self.target.where


def restart_phase(phase: Phase) -> Phase:
    """Return the phase a run restarts a job from: ended jobs start again, shared ones from their gate.

    The gate may have changed since; a valid evaluation is kept.
    """
    if phase.is_end:
        return Phase.SUBMIT
    return Phase.EVALUATE if phase in (Phase.SHARE, Phase.TRANSFER) else phase
