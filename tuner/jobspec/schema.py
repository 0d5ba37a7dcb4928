"""The job spec: every key a job may have, declared once for checks, editors and reference."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from tuner.data import FORMATS, Turns
from tuner.data.checks.rules import IGNORABLE
from tuner.jobspec.rules import DURATION, parse_duration
from tuner.targets import TARGETS
from tuner.types import Grant, GranteeType, Hyperparameters, Role, TargetConfig

_REQUIRED = object()
_SCALARS = (str, int, float, bool)


class Key:
    """Says in an annotation what a field's type does not: ``Annotated[int, Key("...", ge=1)]``.

    Attributes:
        text: What it is, a sentence for the reference and for editors.
        name: The key in the file, where it is not the field's name.
        written: How the value, or each item of a tuple, stands in the file when that is not the
            field's type: a class that declares keys, or a scalar type.
        read: Makes what was written the field's value: called with the scalar, or with the keys
            as keyword arguments.
        single: Whether one value may stand in place of a list of one.
        short: The key for which a bare text may stand in place of the whole mapping.
        options: The texts that are allowed.
        example: A value as one would write it.
        limits: Of a number ``ge``, ``gt``, ``le`` and ``lt``; of a text ``min_length`` and
            ``max_length`` in characters, and ``pattern``, which all of it matches.
    """

    def __init__(  # noqa: PLR0913 -- a key can be told apart in that many ways
        self,
        text: str,
        *,
        name: str = "",
        written: type | None = None,
        read: Callable[..., Any] | None = None,
        single: bool = False,
        short: str = "",
        options: tuple[str, ...] = (),
        example: str = "",
        **limits: float | str,
    ) -> None:
        self.text = text
        self.name = name
        self.written = written
        self.read = read
        self.single = single
        self.short = short
        self.options = options
        self.example = example
        self.limits = limits


class Declared(NamedTuple):
    """One key of a class.

    Attributes:
        name: The key in the file.
        field: Where its value goes.
        kind: The class that declares the keys below it, or the type of the scalar.
        many: Whether it holds a list of them.
        default: The field's value without it.
        key: What its annotation says.
    """

    name: str
    field: str
    kind: type
    many: bool
    default: object
    key: Key

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is _REQUIRED

    @property
    def has_keys(self) -> bool:
        """Whether it is a mapping with keys of its own."""
        return self.kind not in _SCALARS and not self.members

    @property
    def members(self) -> tuple[Any, ...]:
        """Of an enumeration; none of another type."""
        return tuple(self.kind) if issubclass(self.kind, Enum) else ()

    @property
    def options(self) -> tuple[str, ...]:
        """The texts that are allowed, when only some are."""
        return self.key.options or self.members

    @property
    def plain_default(self) -> str | float | None:
        """The default as a file would have it; None where it has none to show."""
        plain = self.default if isinstance(self.default, str | int | float) else None
        return None if plain == "" else plain


@functools.cache
def declared(cls: type) -> dict[str, Declared]:
    """The keys that ``cls`` declares, in order, by their names in the file."""
    hints = get_type_hints(cls, include_extras=True)
    found = (
        _declare(field, hint, getattr(cls, field, _REQUIRED))
        for field, hint in hints.items()
        if get_origin(hint) is Annotated
    )
    return {item.name: item for item in found}


def _declare(field: str, hint: Any, default: object) -> Declared:
    bare, key = get_args(hint)
    kind = key.written or (get_args(bare) or [bare])[0]  # of X | None and tuple[X, ...], X
    return Declared(key.name or field, field, kind, get_origin(bare) is tuple, default, key)


LOCAL = TargetConfig()


class TargetKeys:
    """``target``, when it is more than a word."""

    kind: Annotated[str, Key("Which service.", options=tuple(TARGETS))] = "local"
    endpoint: Annotated[
        str,
        Key("`host:port` in place of the kind's own; `https://` before it: TLS on loopback too."),
    ] = ""
    credentials_file: Annotated[
        str, Key("A service account or authorized-user JSON file, relative to this spec.")
    ] = ""
    api_key_env: Annotated[
        str,
        Key("The environment variable that holds the API key; the key itself never stands here."),
    ] = ""
    quota_project: Annotated[str, Key("The Google Cloud project that calls are billed to.")] = ""
    impersonate: Annotated[str, Key("The e-mail address of a service account to act as.")] = ""
    max_jobs: Annotated[
        int | None, Key("Tunings of this run that may wait or run there at a time.", ge=1)
    ] = None
    requests_per_second: Annotated[
        float | None, Key("Calls a second that this run makes there at most.", gt=0)
    ] = None


@dataclass(frozen=True)
class MetricSpec:
    """``evaluation.metric``: a word, or a mapping when it needs more."""

    kind: Annotated[
        str,
        Key(
            "exact_match, normalized_match, contains, regex, json, token_f1, rouge_l, chrf, "
            "numeric, judge, or module:function of your own, called with expected and answer, "
            "giving a number from 0 to 1.",
            example="exact_match",
            min_length=1,
        ),
    ] = "exact_match"
    tolerance: Annotated[
        float,
        Key("numeric: how far off a number may be, relative to the expected one.", ge=0),
    ] = 0.0
    pattern: Annotated[
        str,
        Key(
            "regex: what an answer must match as a whole; {expected} stands for the expected "
            "output, escaped."
        ),
    ] = ""
    model: Annotated[str, Key("judge: the model that judges, models/ID or tunedModels/ID.")] = ""
    rubric: Annotated[str, Key("judge: what a good answer is.")] = ""
    target: Annotated[
        TargetConfig | None,
        Key(
            "judge: where that model is; without it where the job is.",
            written=TargetKeys,
            read=TargetConfig,
            short="kind",
        ),
    ] = None


@dataclass(frozen=True)
class GateSpec:
    """The gate: what a tuned model must reach before it is shared or handed over."""

    at_least: Annotated[
        float | None, Key("The least mean of the metric over the held-out rows.", ge=0, le=1)
    ] = None
    better_than_base: Annotated[
        bool, Key("Whether it must do better than the model it was tuned from.")
    ] = False
    better_by: Annotated[
        float,
        Key(
            "By how much it must be better than its base, at the least; goes with "
            "better_than_base.",
            ge=0,
            le=1,
        ),
    ] = 0.0
    significant: Annotated[
        bool,
        Key(
            "Whether the 95 % interval of the difference, from a paired bootstrap, must lie above "
            "better_by; goes with better_than_base."
        ),
    ] = False


@dataclass(frozen=True)
class EvaluationSpec:
    """Held-out rows, and what the tuned model must make of them."""

    holdout: Annotated[
        float | None,
        Key(
            "The share of training_data to hold out, chosen by content: a row keeps its side when "
            "rows are added. Excludes path.",
            gt=0,
            lt=1,
        ),
    ] = None
    stratify: Annotated[
        bool,
        Key(
            "Whether to hold out the same share of every output; an added row may then move one "
            "other of its output. Goes with holdout."
        ),
    ] = False
    paths: Annotated[
        tuple[Path, ...],
        Key(
            "A file of held-out examples, or a list of them, read like training_data. Excludes "
            "holdout.",
            name="path",
            single=True,
            written=str,
            read=Path,
            min_length=1,
        ),
    ] = ()
    max_examples: Annotated[
        int | None, Key("Ask no more than so many held-out rows, chosen by content.", ge=1)
    ] = None
    metric: Annotated[
        MetricSpec,
        Key(
            "How an answer is compared with the expected output: a word, or a mapping when it "
            "needs more.",
            short="kind",
        ),
    ] = MetricSpec()
    base_instruction: Annotated[
        str,
        Key(
            "What the base model is told in place of training_data.instruction: the task, and the "
            "labels it may answer with."
        ),
    ] = ""
    require: Annotated[
        GateSpec, Key("The gate: if it is not met, nothing is shared or transferred.")
    ] = GateSpec()


INT32 = 2**31 - 1
NOTICES = ("done", "failed", "rejected", "transferred")
SERVICE_DECIDES = Hyperparameters()


@dataclass(frozen=True)
class TrainingData:
    """Where the examples are and how to read them."""

    paths: Annotated[
        tuple[Path, ...],
        Key(
            "The file of examples, or a list of them, relative to this spec. `*`, `?` and `**` match "
            "names. CSV, TSV, JSON Lines, a JSON array, all of them gzip'ed or not, Parquet, Arrow, "
            "a folder that Hugging Face `datasets` saved.",
            name="path",
            single=True,
            example="examples.csv",
            written=str,
            read=Path,
            min_length=1,
        ),
    ]
    text_input: Annotated[str, Key("The column or key that holds the input.", min_length=1)] = (
        "text_input"
    )
    output: Annotated[
        str, Key("The column or key that holds the answer to learn.", min_length=1)
    ] = "output"
    format: Annotated[
        str,
        Key(
            "How the files are written: the kind of file, or the shape of what is in it, the other "
            "being told by the content. auto tells both.",
            options=FORMATS,
        ),
    ] = "auto"
    multi_turn: Annotated[
        Turns,
        Key(
            "Conversations of several turns are an error, or every answer in them becomes an example "
            "with the conversation up to it as its input.",
            written=str,
            options=("refuse", "expand"),
        ),
    ] = "refuse"
    encoding: Annotated[str, Key("The file's encoding, any that extends ASCII, e.g. cp1252.")] = (
        "utf-8"
    )
    instruction: Annotated[
        str,
        Key(
            "Put in front of every text_input, a blank line between, when tuning and when "
            "evaluating, for the tuned model and its base alike."
        ),
    ] = ""
    ignore: Annotated[
        tuple[str, ...],
        Key(
            "Rules that the examples may break; `tuner data rules` explains each.",
            options=IGNORABLE,
        ),
    ] = ()

    @property
    def path(self) -> Path:
        """The first of the paths, to name the data by."""
        return self.paths[0] if self.paths else Path()


class HyperparameterKeys:
    """How to tune; what is left out the service decides."""

    epoch_count: Annotated[
        int | None, Key("Passes over the examples; the service's default is 5.", ge=1, le=INT32)
    ] = None
    batch_size: Annotated[
        int | None,
        Key("Examples in one optimizer step; the service decides, 4 or 16.", ge=1, le=INT32),
    ] = None
    learning_rate: Annotated[
        float | None, Key("The optimizer's step; the service decides, 0.001 or 0.0002.", gt=0)
    ] = None
    learning_rate_multiplier: Annotated[
        float | None,
        Key("Times the learning rate the service would choose; excludes learning_rate.", gt=0),
    ] = None


@dataclass(frozen=True)
class EarlyStopping:
    """When to give a tuning up: what is cancelled leaves no model."""

    patience_steps: Annotated[
        int,
        Key(
            "Cancel the tuning after so many steps without a better loss; what is cancelled leaves "
            "no model.",
            example="40",
            ge=1,
            le=INT32,
        ),
    ]
    min_delta: Annotated[
        float,
        Key("What counts as better: the mean loss sinks by more than this, in nats.", ge=0),
    ] = 0.0
    window_steps: Annotated[
        int, Key("The loss is the mean over so many steps.", ge=1, le=INT32)
    ] = 8


@dataclass(frozen=True)
class Notify:
    """Whom to tell; exactly one of ``url`` and ``command`` is set."""

    url: Annotated[
        str, Key("A webhook: gets a POST of JSON, by https unless it is on this machine.")
    ] = ""
    command: Annotated[str, Key("A shell command: gets the same on its standard input.")] = ""
    secret_env: Annotated[
        str, Key("The environment variable that holds the key the POST is signed with.")
    ] = ""
    on: Annotated[
        tuple[str, ...], Key("What to tell; all of it when left out.", options=NOTICES)
    ] = NOTICES


class GrantKeys:
    """Who may use the tuned model."""

    role: Annotated[
        Role,
        Key(
            "READER may use it, WRITER also change and share it.",
            options=("READER", "WRITER"),
            example="READER",
        ),
    ]
    grantee_type: Annotated[GranteeType, Key("USER, GROUP or EVERYONE.")] = GranteeType.USER
    email_address: Annotated[str, Key("Of the user or group; none for EVERYONE.")] = ""


@dataclass(frozen=True)
class JobSpec:
    """One job: what to tune, on what, how well, and for whom.

    Attributes are described by their keys; ``path`` is the spec file, as the user named it.
    Exactly one of ``base_model`` and ``tuned_model_source`` is set. Paths can be opened as they are.
    """

    job: Annotated[
        str,
        Key(
            "Names the job; the tuned model's id begins with it.", example="capitals", min_length=1
        ),
    ]
    training_data: Annotated[TrainingData, Key("Where the examples are and how to read them.")]
    target: Annotated[
        TargetConfig,
        Key(
            "Where to tune: a word, or a mapping when it needs more.",
            written=TargetKeys,
            read=TargetConfig,
            short="kind",
        ),
    ] = LOCAL
    base_model: Annotated[
        str, Key("The model to tune, models/ID. Excludes tuned_model_source.")
    ] = ""
    tuned_model_source: Annotated[
        str, Key("A tuned model to tune further, tunedModels/ID. Excludes base_model.")
    ] = ""
    tuned_model_id: Annotated[
        str,
        Key(
            "The id of the new model: 1 to 40 of a-z, 0-9 and hyphens. Without it the id is made "
            "of the job's name and a digest of model, hyperparameters and examples."
        ),
    ] = ""
    display_name: Annotated[str, Key("Shown to people.", max_length=40)] = ""
    description: Annotated[str, Key("What the model is for.")] = ""
    temperature: Annotated[
        float | None, Key("The new model's default when it answers.", ge=0, le=1)
    ] = None
    top_p: Annotated[
        float | None,
        Key("The new model's default: sample from this share of likelihood.", ge=0, le=1),
    ] = None
    top_k: Annotated[
        int | None, Key("The new model's default: sample from so many tokens.", ge=1, le=INT32)
    ] = None
    hyperparameters: Annotated[
        Hyperparameters,
        Key(
            "How to tune; what is left out the service decides.",
            written=HyperparameterKeys,
            read=Hyperparameters,
        ),
    ] = SERVICE_DECIDES
    evaluation: Annotated[
        EvaluationSpec | None,
        Key("Held-out rows, and what the tuned model must make of them."),
    ] = None
    grants: Annotated[
        tuple[Grant, ...],
        Key(
            "Who may use the tuned model, once the gate is passed.",
            name="permissions",
            written=GrantKeys,
            read=Grant,
        ),
    ] = ()
    transfer_ownership: Annotated[
        str, Key("The e-mail address of the new owner; the last step, and not to be undone.")
    ] = ""
    early_stopping: Annotated[
        EarlyStopping | None,
        Key("When to give the tuning up: it is cancelled, and what is cancelled leaves no model."),
    ] = None
    notify: Annotated[
        tuple[Notify, ...], Key("Whom to tell when the job ends or is handed over.")
    ] = ()
    timeout_s: Annotated[
        float | None,
        Key(
            "How long `tuner run` waits before it leaves the job to itself, e.g. 90s, 45m, 2h30m.",
            name="timeout",
            written=str,
            read=parse_duration,
            pattern=DURATION,
            example="90s, 45m or 2h30m",
        ),
    ] = None
    path: Path = Path()
