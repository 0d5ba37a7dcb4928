"""The keys of a pipeline file, declared once for checks, editors and reference."""

from dataclasses import dataclass
from typing import Annotated, Any

from tuner.jobspec.schema import Key

CHAINED = "jobs/"
"""Before a job's name, in ``tuned_model_source``: the model of that job."""


@dataclass(frozen=True)
class PipelineKeys:
    """The top level; ``jobs`` is read by ``entries``."""

    pipeline: Annotated[str, Key("Names the pipeline.", example="reviews-grid", min_length=1)]
    jobs: Annotated[
        tuple[str, ...],
        Key(
            "What to tune: spec files, or keys with values, below, each.",
            example="with a list of spec files below it",
        ),
    ]
    max_parallel: Annotated[
        int | None,
        Key("Tunings at a time; without it as many as the target takes.", ge=1),
    ] = None
    fail_fast: Annotated[
        bool,
        Key(
            "Whether nothing more is begun after the first failure; what runs is followed to its end."
        ),
    ] = False


@dataclass(frozen=True)
class EntryKeys:
    """One of ``jobs``, but for ``set`` and ``matrix``, whose keys are those of specs."""

    name: Annotated[
        str,
        Key("Names it in the pipeline; without it the spec's `job` does. Unique.", min_length=1),
    ] = ""
    spec: Annotated[
        str,
        Key(
            "The job spec, relative to this file. Without it the keys of a spec stand here.",
            example="quickstart.yaml",
            min_length=1,
        ),
    ] = ""
    after: Annotated[
        tuple[str, ...],
        Key(
            "Names of jobs here that must have ended well before. A spec without base_model and "
            "tuned_model_source, and with one of them, tunes that one's model further; with "
            "several, tuned_model_source: jobs/NAME says whose.",
            single=True,
        ),
    ] = ()
    keep: Annotated[
        str,
        Key(
            "Of a matrix: whether each variant that passes its gate is shared and handed over, or "
            "the best by its metric alone.",
            options=("all", "best"),
        ),
    ] = "all"
    losers: Annotated[
        str,
        Key(
            "With keep: best, what becomes of the others' models; deleted are only those that this "
            "pipeline made and nobody else may use.",
            options=("keep", "delete"),
        ),
    ] = "keep"


FREE = {
    "set": "Keys of the spec with dots between, and what to set them to, as --set does.",
    "matrix": (
        "Variants of the spec. grid: keys with dots between and lists of values, each with each; "
        "list: one item a variant; random: count, seed, and from, with a list of values, "
        "{log: [least, most]} or {range: [least, most]} for each key. Without any of the three "
        "words it is a grid."
    ),
}
"""The keys of one of ``jobs`` that hold what any spec may have."""


def entry_schema(spec: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of one of ``jobs``, of those of a spec and of its own keys."""
    free = {
        name: {"description": text, "title": name, "type": "object"} for name, text in FREE.items()
    }
    keys = {**spec["properties"], **own["properties"], **free}
    path = {"description": "A job spec file, relative to this file.", "type": "string"}
    return {"anyOf": [path, {"additionalProperties": False, "properties": keys, "type": "object"}]}


def pipeline_schema() -> dict[str, Any]:
    """JSON Schema of a pipeline file."""
    from tuner.jobspec.reference import json_schema
    from tuner.jobspec.schema import JobSpec

    schema = json_schema(PipelineKeys)
    entry = entry_schema(json_schema(JobSpec), json_schema(EntryKeys))
    schema["properties"]["jobs"] |= {"items": entry, "minItems": 1}
    return schema
