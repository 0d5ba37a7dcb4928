"""The keys that say what a tuned model must make of held-out rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tuner.jobspec.schema import Key
from tuner.jobspec.target_keys import TargetKeys
from tuner.types import TargetConfig

METRICS = (
    "exact_match",
    "normalized_match",
    "contains",
    "regex",
    "json",
    "token_f1",
    "rouge_l",
    "chrf",
    "numeric",
    "judge",
)


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
class Require:
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
        Require, Key("The gate: if it is not met, nothing is shared or transferred.")
    ] = Require()
