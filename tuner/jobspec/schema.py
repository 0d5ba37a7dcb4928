"""The job spec: every key with its type, limits and description, declared once.

The same classes read a spec, are the frozen values the program works with, and give the JSON Schema
(``reference.py``). Error texts are in ``messages.py``, rules between keys in ``rules.py``.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
)
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, PydanticCustomError, PydanticOmit, core_schema

from tuner.data.checks.rules import IGNORABLE
from tuner.data.dataset import FORMATS, Turns
from tuner.jobspec.rules import DURATION, parse_duration
from tuner.targets import TARGETS
from tuner.types import Grant, GranteeType, Hyperparameters, Role, TargetConfig

INT32 = 2**31 - 1
LOCAL = TargetConfig()
SERVICE_DECIDES = Hyperparameters()
NOTICES = ("done", "failed", "rejected", "transferred")

SECTION = ConfigDict(
    extra="forbid",
    validate_by_alias=True,
    validate_by_name=True,  # when built in Python; a file is read by alias only
    allow_inf_nan=False,
)
"""The configuration of every class that declares keys."""


def key(description: str, **limits: Any) -> Any:
    """Return the metadata of a key: its description, limits and examples."""
    return Field(description=description, **limits)


class OneOf:
    """Metadata of a text: its allowed values."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.words))


class ListOrOne:
    """Metadata of a tuple: a single value may be written instead of a list."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: value if isinstance(value, list | tuple) else [value], handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        array = handler(schema)
        return {"anyOf": [array["items"], array]}


class WordOrKeys:
    """Metadata of a section: a text may be written instead of a mapping with this one key."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: {self.key: value} if isinstance(value, str) else value, handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        keys = handler(schema)
        word = handler.resolve_ref_schema(keys)["properties"][self.key]
        limits = {name: word[name] for name in ("enum", "minLength", "type") if name in word}
        return {"anyOf": [limits, keys]}


class KeysOf:
    """Metadata of a class of ``tuner.types``: the class that declares its keys."""

    def __init__(self, keys: type) -> None:
        self.keys = keys

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def read(value: Any, validate: Any) -> Any:
            if isinstance(value, source):
                return value
            keys = vars(validate(value))
            return source(**{name: each for name, each in keys.items() if each is not None})

        inner = handler.generate_schema(self.keys)
        return core_schema.no_info_wrap_validator_function(read, inner)


class FilePath:
    """Metadata of a path: written as text."""

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        def read(value: object) -> Path:
            if not isinstance(value, str | Path):
                raise PydanticCustomError("string_type", "a path is text")
            if not str(value):
                raise PydanticCustomError("string_too_short", "a path is not empty")
            return Path(value)

        return core_schema.no_info_plain_validator_function(read)

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"minLength": 1, "type": "string"}


class NotAKey:
    """Metadata of a field that is not a key: it can be set in Python only."""

    def __get_pydantic_core_schema__(self, source: Any, _: GetCoreSchemaHandler) -> CoreSchema:
        def read(value: object) -> object:
            if not isinstance(value, source):
                raise PydanticCustomError("unexpected_keyword_argument", "not a key")
            return value

        return core_schema.no_info_plain_validator_function(read)

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        raise PydanticOmit


@dataclass(frozen=True, config=SECTION)
class TargetKeys:
    """``target`` as a mapping; see ``tuner.types.TargetConfig``."""

    kind: Annotated[str, OneOf(tuple(TARGETS)), key("Which service.")] = "local"
    endpoint: Annotated[
        str,
        key("`host:port` instead of the target's default; with `https://`, TLS on loopback too."),
    ] = ""
    credentials_file: Annotated[
        str, key("A service account or authorized-user JSON file, relative to this spec.")
    ] = ""
    api_key_env: Annotated[
        str, key("The environment variable that holds the API key; never write the key itself.")
    ] = ""
    quota_project: Annotated[str, key("The Google Cloud project that calls are billed to.")] = ""
    impersonate: Annotated[str, key("The e-mail address of a service account to act as.")] = ""
    max_jobs: Annotated[
        StrictInt | None,
        key("Maximum number of tunings of this run that are queued or running there.", ge=1),
    ] = None
    requests_per_second: Annotated[
        StrictFloat | None,
        key("Maximum number of calls per second that this run makes there.", gt=0),
    ] = None


@dataclass(frozen=True, config=SECTION)
class HyperparameterKeys:
    """``hyperparameters``; see ``tuner.types.Hyperparameters``."""

    epoch_count: Annotated[
        StrictInt | None,
        key("Passes over the examples; the service's default is 5.", ge=1, le=INT32),
    ] = None
    batch_size: Annotated[
        StrictInt | None,
        key("Examples in one training step; the service decides, 4 or 16.", ge=1, le=INT32),
    ] = None
    learning_rate: Annotated[
        StrictFloat | None,
        key("The optimizer's learning rate; the service decides, 0.001 or 0.0002.", gt=0),
    ] = None
    learning_rate_multiplier: Annotated[
        StrictFloat | None,
        key("Factor for the service's default learning rate; excludes learning_rate.", gt=0),
    ] = None


@dataclass(frozen=True, config=SECTION)
class GrantKeys:
    """One of ``permissions``; see ``tuner.types.Grant``."""

    role: Annotated[
        Role,
        key(
            "READER may use it, WRITER may also change and share it.",
            examples=["READER"],
            json_schema_extra={"enum": ["READER", "WRITER"]},  # OWNER: rules.py says how
        ),
    ]
    grantee_type: Annotated[GranteeType, key("USER, GROUP or EVERYONE.")] = GranteeType.USER
    email_address: Annotated[str, key("Of the user or group; none for EVERYONE.")] = ""


@dataclass(frozen=True, config=SECTION)
class TrainingData:
    """``training_data``: the files of examples and how to read them."""

    paths: Annotated[
        tuple[Annotated[Path, FilePath()], ...],
        ListOrOne(),
        key(
            "The file of examples, or a list of them, relative to this spec. `*`, `?` and `**` "
            "match names. CSV, TSV, JSON Lines, a JSON array, all of them gzip'ed or not, "
            "Parquet, Arrow, a folder that Hugging Face `datasets` saved.",
            validation_alias="path",
            examples=["examples.csv"],
        ),
    ]
    text_input: Annotated[str, key("The column or key that holds the input.", min_length=1)] = (
        "text_input"
    )
    output: Annotated[
        str, key("The column or key that holds the answer to learn.", min_length=1)
    ] = "output"
    format: Annotated[
        str,
        OneOf(FORMATS),
        key(
            "The kind of file, or the shape of its records; the other is detected from the "
            "content. auto detects both."
        ),
    ] = "auto"
    multi_turn: Annotated[
        Turns,
        key(
            "Conversations of several turns are an error, or every answer in them becomes an "
            "example with the conversation up to it as its input."
        ),
    ] = "refuse"
    encoding: Annotated[str, key("The file's encoding, an extension of ASCII, e.g. cp1252.")] = (
        "utf-8"
    )
    instruction: Annotated[
        str,
        key(
            "Text to put before every text_input, with a blank line between, when tuning and when "
            "evaluating both the tuned model and its base."
        ),
    ] = ""
    ignore: Annotated[
        tuple[Annotated[str, OneOf(tuple(IGNORABLE))], ...],
        key("Rules that the examples may break; `tuner data rules` explains each."),
    ] = ()

    @property
    def path(self) -> Path:
        """The first of the paths, to name the data by."""
        return self.paths[0] if self.paths else Path()


@dataclass(frozen=True, config=SECTION)
class MetricSpec:
    """``evaluation.metric``: a name, or a mapping with options."""

    kind: Annotated[
        str,
        key(
            "exact_match, normalized_match, contains, regex, json, token_f1, rouge_l, chrf, "
            "numeric, judge, or module:function of your own, called with expected and answer, "
            "returning a number from 0 to 1.",
            examples=["exact_match"],
            min_length=1,
        ),
    ] = "exact_match"
    tolerance: Annotated[
        StrictFloat,
        key("numeric: the largest relative error that counts as correct.", ge=0),
    ] = 0.0
    pattern: Annotated[
        str,
        key(
            "regex: what an answer must match as a whole; {expected} is replaced by the "
            "expected output, escaped."
        ),
    ] = ""
    model: Annotated[
        str, key("judge: the model that scores answers, models/ID or tunedModels/ID.")
    ] = ""
    rubric: Annotated[str, key("judge: what a good answer is.")] = ""
    target: Annotated[
        Annotated[TargetConfig, KeysOf(TargetKeys), WordOrKeys("kind")] | None,
        key("judge: the target that serves this model; default: the job's target."),
    ] = None


@dataclass(frozen=True, config=SECTION)
class GateSpec:
    """``evaluation.require``: what a tuned model must reach before it is shared or transferred."""

    at_least: Annotated[
        StrictFloat | None,
        key("The lowest acceptable mean of the metric over the held-out rows.", ge=0, le=1),
    ] = None
    better_than_base: Annotated[
        StrictBool, key("Whether it must score better than the model it was tuned from.")
    ] = False
    better_by: Annotated[
        StrictFloat,
        key(
            "Minimum improvement over the base model; requires better_than_base.",
            ge=0,
            le=1,
        ),
    ] = 0.0
    significant: Annotated[
        StrictBool,
        key(
            "Whether the 95 % interval of the difference, from a paired bootstrap, must lie above "
            "better_by; requires better_than_base."
        ),
    ] = False


@dataclass(frozen=True, config=SECTION)
class EvaluationSpec:
    """``evaluation``: held-out rows, and how well the tuned model must answer them."""

    holdout: Annotated[
        StrictFloat | None,
        key(
            "The share of training_data to hold out, chosen by content: a row stays in its set when "
            "rows are added. Excludes path.",
            gt=0,
            lt=1,
        ),
    ] = None
    stratify: Annotated[
        StrictBool,
        key(
            "Whether to hold out the same share of each output; an added row may then move one other "
            "row with the same output. Requires holdout."
        ),
    ] = False
    paths: Annotated[
        tuple[Annotated[Path, FilePath()], ...],
        ListOrOne(),
        key(
            "A file of held-out examples, or a list of them, read like training_data. Excludes "
            "holdout.",
            validation_alias="path",
        ),
    ] = ()
    max_examples: Annotated[
        StrictInt | None, key("Use at most this many held-out rows, chosen by content.", ge=1)
    ] = None
    metric: Annotated[
        MetricSpec,
        WordOrKeys("kind"),
        key(
            "How an answer is compared with the expected output: a name, or a mapping with options."
        ),
    ] = MetricSpec()
    base_instruction: Annotated[
        str,
        key(
            "The base model's instruction in place of training_data.instruction: the task, and "
            "the labels it may answer with."
        ),
    ] = ""
    require: Annotated[
        GateSpec, key("The gate: if it is not met, nothing is shared or transferred.")
    ] = GateSpec()


@dataclass(frozen=True, config=SECTION)
class EarlyStopping:
    """``early_stopping``: when to cancel a tuning, which then leaves no model."""

    patience_steps: Annotated[
        StrictInt,
        key(
            "Cancel the tuning after this many steps without a better loss; a cancelled tuning "
            "leaves no model.",
            examples=[40],
            ge=1,
            le=INT32,
        ),
    ]
    min_delta: Annotated[
        StrictFloat,
        key("Minimum decrease of the mean loss that counts as better, in nats.", ge=0),
    ] = 0.0
    window_steps: Annotated[
        StrictInt, key("The loss is the mean over this many steps.", ge=1, le=INT32)
    ] = 8


@dataclass(frozen=True, config=SECTION)
class Notify:
    """One of ``notify``: a receiver; exactly one of ``url`` and ``command`` is set."""

    url: Annotated[
        str, key("A webhook: receives JSON by POST; must be https unless it is on this machine.")
    ] = ""
    command: Annotated[str, key("A shell command: receives the same JSON on standard input.")] = ""
    secret_env: Annotated[
        str, key("The environment variable with the key that signs the POST.")
    ] = ""
    on: Annotated[
        tuple[Annotated[str, OneOf(NOTICES)], ...],
        key("Which events to send; all of them by default."),
    ] = NOTICES


@dataclass(frozen=True, config=SECTION)
class JobSpec:
    """One job: model, data, evaluation, and permissions.

    Attributes are described by their keys; ``path`` is the spec file as given.
    Exactly one of ``base_model`` and ``tuned_model_source`` is set. Paths can be opened as they are.
    """

    job: Annotated[
        str,
        key(
            "Name of the job; the tuned model's id starts with it.",
            examples=["capitals"],
            min_length=1,
        ),
    ]
    training_data: Annotated[TrainingData, key("Where the examples are and how to read them.")]
    target: Annotated[
        TargetConfig,
        KeysOf(TargetKeys),
        WordOrKeys("kind"),
        key("Where to tune: a name, or a mapping with options."),
    ] = LOCAL
    base_model: Annotated[
        str, key("The model to tune, models/ID. Excludes tuned_model_source.")
    ] = ""
    tuned_model_source: Annotated[
        str, key("A tuned model to tune further, tunedModels/ID. Excludes base_model.")
    ] = ""
    tuned_model_id: Annotated[
        str,
        key(
            "The id of the new model: 1 to 40 of a-z, 0-9 and hyphens. By default it is built from "
            "the job's name and a digest of model, hyperparameters and examples."
        ),
    ] = ""
    display_name: Annotated[str, key("The name that users see.", max_length=40)] = ""
    description: Annotated[str, key("What the model is for.")] = ""
    temperature: Annotated[
        StrictFloat | None, key("The new model's default sampling temperature.", ge=0, le=1)
    ] = None
    top_p: Annotated[
        StrictFloat | None,
        key(
            "The new model's default: sample from the most likely tokens with this total probability.",
            ge=0,
            le=1,
        ),
    ] = None
    top_k: Annotated[
        StrictInt | None,
        key("The new model's default: sample from this many most likely tokens.", ge=1, le=INT32),
    ] = None
    hyperparameters: Annotated[
        Hyperparameters,
        KeysOf(HyperparameterKeys),
        key("How to tune; the service decides what is not set."),
    ] = SERVICE_DECIDES
    evaluation: Annotated[
        EvaluationSpec | None, key("Held-out rows, and how well the tuned model must answer them.")
    ] = None
    grants: Annotated[
        tuple[Annotated[Grant, KeysOf(GrantKeys)], ...],
        key(
            "Who may use the tuned model, once the gate is passed.", validation_alias="permissions"
        ),
    ] = ()
    transfer_ownership: Annotated[
        str, key("The e-mail address of the new owner; the last step, which cannot be undone.")
    ] = ""
    early_stopping: Annotated[
        EarlyStopping | None, key("When to cancel the tuning; a cancelled tuning leaves no model.")
    ] = None
    notify: Annotated[
        tuple[Notify, ...],
        key("Receivers to notify when the job ends or the model is transferred."),
    ] = ()
    timeout: Annotated[
        str | None,
        key(
            "How long `tuner run` waits before it leaves the job running, e.g. 90s, 45m, 2h30m.",
            examples=["90s, 45m or 2h30m"],
            pattern=DURATION,
        ),
    ] = None
    path: Annotated[Path, NotAKey()] = Path()

    @property
    def timeout_s(self) -> float | None:
        """How long ``tuner run`` waits, in seconds; None means without limit."""
        return None if self.timeout is None else parse_duration(self.timeout)
