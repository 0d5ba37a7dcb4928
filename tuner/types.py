"""The shared vocabulary: plain frozen data, in Google's own words for Google's things.

Nothing here imports more than the standard library: both towers and the command line stand on it.
What a service tells is a NamedTuple: every command loads this, and a dataclass costs four times that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from tuner.examples import Example as Example  # noqa: PLC0414, TC001 -- it belongs to the vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence


class Role(StrEnum):
    """What a grantee may do; a reader infers, a writer also edits and shares, an owner also deletes."""

    READER = "READER"
    WRITER = "WRITER"
    OWNER = "OWNER"


class GranteeType(StrEnum):
    """Who a permission is for; EVERYONE has no e-mail address, the others need one."""

    USER = "USER"
    GROUP = "GROUP"
    EVERYONE = "EVERYONE"


class Feature(StrEnum):
    """What a target may not be able to do."""

    CHAINING = "chaining"
    SHARING = "sharing"
    TRANSFER = "transfer"
    LISTING = "listing"


class State(StrEnum):
    """A tuned model's own account of itself."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"


class Phase(StrEnum):
    """Where a job stands; the last five are ends.

    REJECTED: tuned, but its gate was not met. NOT_SELECTED: tuned, but another variant of its matrix
    was selected.
    """

    SUBMIT = "SUBMIT"
    TUNE = "TUNE"
    EVALUATE = "EVALUATE"
    SHARE = "SHARE"
    TRANSFER = "TRANSFER"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    NOT_SELECTED = "NOT SELECTED"

    @classmethod
    def _missing_(cls, value: object) -> Phase | None:
        """Read what older versions stored."""
        return cls.NOT_SELECTED if value == "BEATEN" else None

    @property
    def is_end(self) -> bool:
        """Whether ``advance`` has nothing more to do."""
        return self in ENDS


ENDS = frozenset({Phase.DONE, Phase.FAILED, Phase.CANCELLED, Phase.REJECTED, Phase.NOT_SELECTED})


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """``None`` leaves the choice to the service; a learning rate and a multiplier exclude each other."""

    epoch_count: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    learning_rate_multiplier: float | None = None


class Snapshot(NamedTuple):
    """One report from a running tuning.

    Attributes:
        step: Optimizer steps done, from 1.
        epoch: The pass over the data this step belongs to, from 1.
        mean_loss: Mean cross-entropy over the output tokens of this step's batch, in nats.
        compute_time: When it was measured, seconds since 1970.
    """

    step: int
    epoch: int
    mean_loss: float
    compute_time: float


@dataclass(frozen=True, slots=True)
class NewTunedModel:
    """All that ``CreateTunedModelRequest`` carries; exactly one of the two sources is set."""

    id: str
    examples: Sequence[Example] = field(repr=False)
    base_model: str = ""
    tuned_model_source: str = ""
    display_name: str = ""
    description: str = ""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    hyperparameters: Hyperparameters = Hyperparameters()

    @property
    def name(self) -> str:
        """``tunedModels/ID``."""
        return f"tunedModels/{self.id}"


class TunedModel(NamedTuple):
    """A tuned model as the service shows it; times are seconds since 1970, 0 when not known."""

    name: str
    state: State
    base_model: str = ""
    tuned_model_source: str = ""
    display_name: str = ""
    description: str = ""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    hyperparameters: Hyperparameters = Hyperparameters()
    create_time: float = 0.0
    update_time: float = 0.0
    snapshots: tuple[Snapshot, ...] = ()


class Model(NamedTuple):
    """A model the service offers; ``createTunedModel`` among the methods means it can be tuned."""

    name: str
    display_name: str = ""
    description: str = ""
    input_token_limit: int = 0
    output_token_limit: int = 0
    supported_generation_methods: tuple[str, ...] = ()


class Operation(NamedTuple):
    """A long-running tuning; ``error`` is empty while it runs and after it worked.

    ``cancelled`` says that the error is the service's CANCELLED.
    """

    name: str
    tuned_model: str
    done: bool = False
    error: str = ""
    cancelled: bool = False
    total_steps: int = 0
    completed_steps: int = 0
    snapshots: tuple[Snapshot, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """What a spec asks for; the e-mail address is empty for EVERYONE alone."""

    role: Role
    grantee_type: GranteeType = GranteeType.USER
    email_address: str = ""

    @property
    def grantee(self) -> tuple[GranteeType, str]:
        """Who it is for, comparable: addresses differ only by more than their case."""
        return self.grantee_type, self.email_address.casefold()

    def __str__(self) -> str:
        """E.g. ``ana@example.com (reader)``."""
        return f"{self.email_address or 'everyone'} ({self.role.lower()})"


class Permission(NamedTuple):
    """What the service holds: a grant with a name of its own."""

    name: str
    grant: Grant


class GenerationConfig(NamedTuple):
    """How to sample; ``None`` leaves the choice to the model."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop_sequences: tuple[str, ...] = ()


class Answer(NamedTuple):
    """What a model said, why it stopped (``STOP``, ``MAX_TOKENS``...), and what it took."""

    text: str
    finish_reason: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """Where a job runs, as its spec says it.

    Attributes:
        kind: A key of ``tuner.targets.TARGETS``.
        endpoint: ``host:port`` in place of the kind's own.
        credentials_file: A service account or authorized-user JSON file.
        api_key_env: The environment variable that holds the API key.
        quota_project: Whom calls are billed to (``x-goog-user-project``).
        impersonate: A service account to act as.
        max_jobs: Tunings of one run that may wait or run there at a time; 0 is no limit.
        requests_per_second: Calls that one run makes there at most; 0 is no limit.
    """

    kind: str = "local"
    endpoint: str = ""
    credentials_file: str = ""
    api_key_env: str = ""
    quota_project: str = ""
    impersonate: str = ""
    max_jobs: int = 0
    requests_per_second: float = 0.0

    @property
    def where(self) -> str:
        """In a word: the kind, and the endpoint when that is not the kind's own."""
        return f"{self.kind}:{self.endpoint}" if self.endpoint else self.kind


@dataclass(frozen=True, slots=True)
class Limits:
    """What a target takes at most; None is no limit.

    Sources: the characters are Google's documented limits for tuning Gemini 1.5 Flash; the request
    is gRPC's default message size, 4 MiB, which generativelanguage.googleapis.com keeps.
    """

    text_input_chars: int | None
    output_chars: int | None
    request_bytes: int | None
