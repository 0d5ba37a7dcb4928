"""Shared data types, named as in Google's API.

Uses the standard library only, and is imported by client, service and command line. Types returned by a
service are NamedTuples: every command imports them, and dataclasses take four times as long to create.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Example(NamedTuple):
    """One row to tune on: the texts as written, never stripped or converted.

    ``line`` (1-based) is where the row starts in its file, 0 if it has none; it does not count
    when two examples are compared.
    """

    text_input: str
    output: str
    line: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Example) and self[:2] == other[:2]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:2])


class Role(StrEnum):
    """What a grantee may do: a reader calls the model, a writer also edits and shares, an owner also deletes."""

    READER = "READER"
    WRITER = "WRITER"
    OWNER = "OWNER"


class GranteeType(StrEnum):
    """The kind of grantee; all but EVERYONE have an e-mail address."""

    USER = "USER"
    GROUP = "GROUP"
    EVERYONE = "EVERYONE"


class Feature(StrEnum):
    """An optional ability of a target."""

    CHAINING = "chaining"
    SHARING = "sharing"
    TRANSFER = "transfer"
    LISTING = "listing"


class State(StrEnum):
    """The state of a tuned model."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"


class Phase(StrEnum):
    """The next step of a job; the last five are final.

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
        """Accept the value of older versions."""
        return cls.NOT_SELECTED if value == "BEATEN" else None

    @property
    def is_end(self) -> bool:
        """Whether ``advance`` has nothing more to do."""
        return self in ENDS


ENDS = frozenset({Phase.DONE, Phase.FAILED, Phase.CANCELLED, Phase.REJECTED, Phase.NOT_SELECTED})


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Hyperparameters; the service chooses those that are None. Learning rate and multiplier exclude each other."""

    epoch_count: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    learning_rate_multiplier: float | None = None


class Snapshot(NamedTuple):
    """A progress report of a tuning.

    Attributes:
        step: Training steps done, from 1.
        epoch: The epoch of this step, from 1.
        mean_loss: Mean cross-entropy over the output tokens of this step's batch, in nats.
        compute_time: Time of measurement, in seconds since 1970.
    """

    step: int
    epoch: int
    mean_loss: float
    compute_time: float


@dataclass(frozen=True, slots=True)
class NewTunedModel:
    """The content of ``CreateTunedModelRequest``; exactly one of the two sources is set."""

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
    """A tuned model as returned by a service; times are seconds since 1970, 0 if unknown."""

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
    """A base model of a service; with the method ``createTunedModel`` it can be tuned."""

    name: str
    display_name: str = ""
    description: str = ""
    input_token_limit: int = 0
    output_token_limit: int = 0
    supported_generation_methods: tuple[str, ...] = ()


class Operation(NamedTuple):
    """The operation of a tuning; ``error`` is empty unless it failed or was cancelled."""

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
    """A role that a spec requests for a grantee; only EVERYONE has no e-mail address."""

    role: Role
    grantee_type: GranteeType = GranteeType.USER
    email_address: str = ""

    @property
    def grantee(self) -> tuple[GranteeType, str]:
        """The grantee in comparable form: e-mail addresses ignore case."""
        return self.grantee_type, self.email_address.casefold()

    def __str__(self) -> str:
        return f"{self.email_address or 'everyone'} ({self.role.lower()})"


class Permission(NamedTuple):
    """A permission on a service: a grant with a resource name."""

    name: str
    grant: Grant


class GenerationConfig(NamedTuple):
    """Sampling parameters; None leaves the choice to the model."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop_sequences: tuple[str, ...] = ()


class Answer(NamedTuple):
    """A model's answer, its finish reason (``STOP``, ``MAX_TOKENS``...), and its token counts."""

    text: str
    finish_reason: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """The target of a job, as in its spec.

    Attributes:
        kind: A key of ``tuner.targets.TARGETS``.
        endpoint: ``host:port``, instead of the kind's default.
        credentials_file: A service account or authorized-user JSON file.
        api_key_env: The environment variable that holds the API key.
        quota_project: The project calls are billed to (``x-goog-user-project``).
        impersonate: A service account to impersonate.
        max_jobs: Maximum queued and running tunings of one run; 0 is no limit.
        requests_per_second: Maximum call rate of one run; 0 is no limit.
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
        """A short name: the kind, with the endpoint if it is not the default."""
        return f"{self.kind}:{self.endpoint}" if self.endpoint else self.kind


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum sizes a target accepts; None is no limit.

    Sources: Google's documented character limits for tuning Gemini 1.5 Flash; gRPC's default message size
    of 4 MiB, which generativelanguage.googleapis.com enforces.
    """

    text_input_chars: int | None
    output_chars: int | None
    request_bytes: int | None
