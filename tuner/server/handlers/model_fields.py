"""The editable fields of a tuned model: what may stand in them, and which an update changes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tuner.server.api_errors import Violation, invalid
from tuner.server.messages import raw

if TYPE_CHECKING:
    from tuner.engine import BaseModel
    from tuner.server.messages import Message
    from tuner.server.store.models import ModelRow

MAX_LENGTHS = {
    "display_name": 40,
    "description": 10_000,  # ours: it comes with every list, and clients over gRPC take 4 MiB
}
EDITABLE = ("display_name", "description", "temperature", "top_p", "top_k")
_SAMPLING = ("temperature", "top_p", "top_k")
_GIVEN_BACK = ("name", "state", "create_time", "update_time")  # AIP-203: ignored in a request
_IMMUTABLE = ("base_model", "tuned_model_source", "tuning_task")


def shortest(value: float) -> float:
    """The short decimal behind a 32-bit float: 0.001, not 0.0010000000474974513."""
    return float(f"{value:.7g}")


def problems(model: Message) -> list[Violation]:
    """What is wrong with the editable fields, as violations of ``tuned_model.FIELD``."""
    found = []
    for field, most in MAX_LENGTHS.items():
        text = getattr(model, field)
        if len(text) > most:
            found.append(_about(field, f"{len(text)} characters, at most {most}"))
        if "\0" in text:
            found.append(_about(field, "must not have a NUL character: PostgreSQL keeps none"))
    for field in ("temperature", "top_p"):
        value = getattr(model, field)
        if math.isnan(value) or not 0 <= value <= 1:
            found.append(_about(field, f"must be from 0 to 1, not {shortest(value)}"))
    if model.HasField("top_k") and model.top_k < 1:
        found.append(_about("top_k", f"must be 1 or more, not {model.top_k}"))
    if model.reader_project_numbers:
        found.append(_about("reader_project_numbers", "there are no projects here: grant READER"))
    return found


def value_of(model: Message, field: str, base: BaseModel | None) -> str | float:
    """What a field says; sampling left open is as the base model has it."""
    if field not in _SAMPLING:
        return str(getattr(model, field))
    if model.HasField(field):
        value = getattr(model, field)
        return value if field == "top_k" else shortest(value)
    return getattr(base, field) if base else {"temperature": 1.0, "top_p": 1.0, "top_k": 0}[field]


def checked_changes(
    model: Message, mask: list[str], row: ModelRow, base: BaseModel | None
) -> dict[str, str | float]:
    """What an update changes. Without a mask: the fields that are set; with ``*``: all editable ones.

    A mask may name what stays as it is: whoever changes a model and sends it back whole does so.

    Raises:
        ApiError: A field is immutable, set by the service, unknown, or its value is wrong.
    """
    named = [path.removeprefix("tuned_model.") for path in mask] or _set_fields(model)
    paths = [path for path in named if not _is_same(path, model, row)]
    wrong = [_about(path, _why_not(path)) for path in paths if path not in {*EDITABLE, "*"}]
    fields = EDITABLE if "*" in paths else [field for field in EDITABLE if field in paths]
    wrong += [each for each in problems(model) if each.field.rpartition(".")[2] in fields]
    if wrong:
        raise invalid(wrong)
    return {field: value_of(model, field, base) for field in fields}


def _set_fields(model: Message) -> list[str]:
    return [field.name for field, _ in model.ListFields()]


def _is_same(path: str, model: Message, row: ModelRow) -> bool:
    match path:
        case "base_model":
            return bool(model.base_model == row.base_model)
        case "tuned_model_source":
            return bool(model.tuned_model_source.tuned_model == row.source)
        case "tuning_task":
            return _is_same_task(model.tuning_task, row)
    return path in _GIVEN_BACK


def _is_same_task(task: Message, row: ModelRow) -> bool:
    """Whether a task asks for nothing that the model was not tuned with."""
    names = ("epoch_count", "batch_size", "learning_rate")
    tuned_with = raw("Hyperparameters")(**{name: getattr(row, name) for name in names})
    asked = task.hyperparameters.ListFields()
    is_same = all(getattr(tuned_with, field.name) == value for field, value in asked)
    return is_same and not task.HasField("training_data")


def _why_not(path: str) -> str:
    if path.partition(".")[0] in _IMMUTABLE:
        return "cannot be changed: tune a new model"
    return f"cannot be changed; these can: {', '.join(EDITABLE)}"


def _about(field: str, what: str) -> Violation:
    return Violation(f"tuned_model.{field}", what)
