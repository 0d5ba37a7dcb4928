"""The job spec: every key a job may have, declared once for checks, editors and reference."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from tuner.data import FORMATS, Turns
from tuner.data.checks.rules import IGNORABLE
from tuner.jobs.durations import DURATION, seconds
from tuner.jobs.schema import Key
from tuner.targets import TARGETS
from tuner.types import Grant, GranteeType, Hyperparameters, Role, TargetConfig

INT32 = 2**31 - 1
LOCAL = TargetConfig()
SERVICE_DECIDES = Hyperparameters()


class Metric(StrEnum):
    """How an answer is compared with the expected output."""

    EXACT_MATCH = "exact_match"
    NORMALIZED_MATCH = "normalized_match"


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
class Require:
    """The gate: what a tuned model must reach before it is shared or handed over."""

    at_least: Annotated[
        float | None, Key("The least share of held-out rows answered right.", ge=0, le=1)
    ] = None
    better_than_base: Annotated[
        bool, Key("Whether it must be right more often than the model it was tuned from.")
    ] = False


@dataclass(frozen=True)
class Evaluation:
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
        Metric,
        Key("exact_match compares to the letter, normalized_match without case and punctuation."),
    ] = Metric.EXACT_MATCH
    require: Annotated[
        Require, Key("The gate: if it is not met, nothing is shared or transferred.")
    ] = Require()


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
        Evaluation | None,
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
    timeout_s: Annotated[
        float | None,
        Key(
            "How long `tuner run` waits before it leaves the job to itself, e.g. 90s, 45m, 2h30m.",
            name="timeout",
            written=str,
            read=seconds,
            pattern=DURATION,
            example="90s, 45m or 2h30m",
        ),
    ] = None
    path: Path = Path()
