"""A job's bookmark: how far it got, and what it has learnt about its model."""

from __future__ import annotations

from dataclasses import dataclass, field

from tuner.formatting import format_number
from tuner.types import Phase, TargetConfig

FORCED = "forced by --force-share"
"""How ``Job.allowed`` starts if the gate was overruled."""
_WORDS = {"exact_match": "exact match", "normalized_match": "normalised"}


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One held-out row, what the base and the tuned model made of it, and how good that is.

    The scores are those of the evaluation's metric, from 0 to 1.
    """

    text_input: str
    expected: str
    tuned: str
    base: str
    line: int = 0
    tuned_score: float = 0.0
    base_score: float = 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the mean difference, tuned less base, lies with a confidence of 95 %."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The tuned model against its base on the held-out rows.

    Attributes:
        digest: Names the rows and how they were asked and compared, so that a kept evaluation is
            never taken for another one.
        metric: What the gate looks at.
        tuned, base: Mean scores from 0 to 1 by metric: always ``exact_match`` and
            ``normalized_match``, and ``metric``.
        count: How many rows.
        interval: Of the difference in ``metric``; None for less than two rows.
        rows: One by one, where they were just asked; the ledger keeps them apart.
        model: Which model was asked, as ``asking.identity`` says; empty when that is not known.
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
        """Tuned against base, in a line."""
        told = [f"{words} {self._pair(name)}" for name, words in _WORDS.items()]
        if self.metric not in _WORDS:
            told = [f"{self.metric} {self._pair(self.metric)}{self._difference()}", *told]
        return f"{'; '.join(told)}; {self.count} held-out rows"

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
    """What the ledger remembers of one job; everything else is asked of the service.

    Attributes:
        name: ``job:`` of the spec; of a pipeline's stage, the name of its entry there.
        target: Where it runs.
        tuned_model: ``tunedModels/ID``; settled before anything is sent.
        content: The content-addressed id of what was submitted; differs from ``tuned_model`` when
            the spec or ``--new`` chose another id.
        spec: The spec file, absolute; empty when spec or examples were given from Python.
        overrides: What ``--set`` changed in it.
        phase: What is to be done next.
        operation: Name of the tuning's operation, empty until it is known.
        total_steps, completed_steps, mean_loss: The tuning as last seen.
        evaluation: None until the held-out rows were answered.
        handed_to: The new owner, once the model was transferred; it may then be hidden from us.
        error: Why it ended, when it did not end well.
        label: Which one of a matrix it is, e.g. ``learning_rate=0.001 batch_size=4``.
        allowed: Why sharing is allowed: the gate was met, none was asked for, or it was overruled;
            of a job that was rejected later, why it had been.
        force: Whether ``--force-share`` overrules the gate.
        retry: Whether a failed model of this id is deleted, once, before the next create.
        attempt: Raised by every retry, and where a model that is gone is tuned anew.
        stopping: Why the tuning is to be cancelled; committed before it is.
        best_of: Of how many variants it is the one that is kept; 0 where nothing was chosen.
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
        """Whether ``--force-share`` allowed the sharing, not the gate."""
        return self.allowed.startswith(FORCED)

    @property
    def title(self) -> str:
        """What people see: the name, and which one of a matrix."""
        return f"{self.name}[{self.label}]" if self.label else self.name

    @property
    def is_on_disk(self) -> bool:
        """Whether files tell all of it, so that it can be gone on with from them."""
        return bool(self.spec)

    @property
    def where(self) -> str:
        """The target in a word."""
        return self.target.where


def rewound(phase: Phase) -> Phase:
    """Where a run goes on from: what is over begins anew, and what may be shared passes its gate.

    The gate may be another one than when the sharing was allowed; an evaluation that stands is kept.
    """
    if phase.is_end:
        return Phase.SUBMIT
    return Phase.EVALUATE if phase in (Phase.SHARE, Phase.TRANSFER) else phase
