"""The job spec: every key a job may have, declared once for checks, editors and reference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tuner.data import FORMATS, Turns
from tuner.data.checks.rules import IGNORABLE
from tuner.jobspec.durations import DURATION, seconds
from tuner.jobspec.evaluation_keys import METRICS as METRICS  # noqa: PLC0414 -- a spec's as the rest
from tuner.jobspec.evaluation_keys import Evaluation as Evaluation  # noqa: PLC0414
from tuner.jobspec.evaluation_keys import MetricSpec as MetricSpec  # noqa: PLC0414
from tuner.jobspec.evaluation_keys import Require as Require  # noqa: PLC0414
from tuner.jobspec.schema import Key
from tuner.jobspec.target_keys import LOCAL, TargetKeys
from tuner.types import Grant, GranteeType, Hyperparameters, Role, TargetConfig

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
            read=seconds,
            pattern=DURATION,
            example="90s, 45m or 2h30m",
        ),
    ] = None
    path: Path = Path()
