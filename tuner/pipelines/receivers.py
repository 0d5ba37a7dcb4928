"""Whom the stages of a pipeline tell of their ends, read without a look at their data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import InvalidInput
from tuner.jobspec.load import partial_spec_of
from tuner.pipelines.entries import read_entries
from tuner.pipelines.spec import read_top
from tuner.yaml_source import mapping_or_empty

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tuner.jobspec.schema import Notify
    from tuner.yaml_source import Document

_ANY = "tunedModels/of-another"
"""Stands for the model that a stage tunes further."""


def receivers(path: Path, overrides: Sequence[str] = ()) -> dict[str, tuple[Notify, ...]]:
    """By stage.

    Raises:
        InvalidInput: The pipeline, or one of its specs, is wrong at present.
    """
    document, _, problems = read_top(path, overrides)
    entries, found = read_entries(document) if not problems else ([], [])
    if problems or found:
        raise InvalidInput([*problems, *found])
    return {
        entry.stage(variant): _of(entry.changed(entry.base, variant.settings))
        for entry in entries
        for variant in entry.variants
    }


def _of(document: Document) -> tuple[Notify, ...]:
    keys = mapping_or_empty(document.value)
    if keys.get("base_model") is None:
        document = document._replace(value={**keys, "tuned_model_source": _ANY})
    draft = partial_spec_of(document)
    if draft.spec is None:
        raise InvalidInput(list(draft.problems))
    return draft.spec.notify
