"""A job's bookmark: how far it got, and what it has learnt about its model."""

from __future__ import annotations

from dataclasses import dataclass, field

from tuner.types import Phase, TargetConfig


@dataclass(frozen=True, slots=True)
class Judged:
    """One held-out row with what the base and the tuned model made of it."""

    text_input: str
    expected: str
    tuned: str
    base: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares of rows answered right, from 0 to 1: to the letter, and but for case and punctuation."""

    exact_match: float
    normalized_match: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The tuned model against its base on the held-out rows.

    ``digest`` names the rows, so that a kept evaluation is never taken for one of other rows.
    """

    digest: str
    tuned: Scores
    base: Scores
    rows: tuple[Judged, ...] = field(repr=False)

    def __str__(self) -> str:
        """Tuned against base, in a line."""
        return (
            f"exact match {self.tuned.exact_match:.2f} tuned, {self.base.exact_match:.2f} base; "
            f"normalised {self.tuned.normalized_match:.2f} tuned, "
            f"{self.base.normalized_match:.2f} base; {len(self.rows)} held-out rows"
        )


@dataclass(frozen=True, slots=True)
class Job:
    """What the ledger remembers of one job; everything else is asked of the service.

    Attributes:
        name: ``job:`` of the spec.
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
        allowed: Why sharing is allowed: the gate was met, none was asked for, or it was overruled.
        force: Whether ``--force-share`` overrules the gate.
        retry: Whether a failed model of this id is deleted, once, before the next create.
        attempt: Raised by every retry.
        stopping: Why the tuning is to be cancelled; committed before it is.
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
        """The target in a word: its kind, and its endpoint when that is not the kind's own."""
        return ":".join(filter(None, [self.target.kind, self.target.endpoint]))
