"""OpenAI's fine-tuning job, as the API gives it and as it is created.

Fields: ``FineTuningJob`` and ``FineTuningJobCreateParams`` with their methods and hyperparameters in
github.com/openai/openai-python, src/openai/types/fine_tuning/, and the API reference,
https://platform.openai.com/docs/api-reference/fine-tuning/object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.migrate import reasons
from tuner.migrate.parts import (
    write_file,
    write_gate,
    write_held,
    write_model,
    write_name,
    write_numbers,
)

if TYPE_CHECKING:
    from tuner.migrate.theirs import Theirs
    from tuner.yaml_source import KeyPath

END = "2027-01-06"
"""The last day of OpenAI's self-serve tuning."""
_TWICE = "the file has it twice, and the other was taken"
_COMPLETION_MODELS = ("babbage-002", "davinci-002", "ft:babbage", "ft:davinci")

_REASONS = (
    ("hyperparameters.*", _TWICE),
    ("method.*.hyperparameters.n_epochs", _TWICE),
    ("method.*.hyperparameters.batch_size", _TWICE),
    ("method.*.hyperparameters.learning_rate_multiplier", _TWICE),
    ("method.dpo*", reasons.PREFERENCES),
    ("method.reinforcement*", reasons.PREFERENCES),
    ("seed", reasons.SEED),
    ("integrations*", reasons.TRACKER),
    ("metadata*", reasons.LABELS),
    ("fine_tuned_model", "the model stays with OpenAI: its weights cannot be had"),
    ("suffix", "the job is named by user_provided_suffix"),
    *((key, reasons.RECORD) for key in (
        "object", "id", "created_at", "finished_at", "estimated_finish", "status", "error*",
        "organization_id", "result_files*", "trained_tokens", "checkpoints*", "eval_id*",
        "usage_metrics*", "shared_with_openai", "user_provided_suffix",
    )),
)  # fmt: skip


def translate(theirs: Theirs) -> None:
    """Fill ``theirs``."""
    write_name(theirs, ("suffix",), ("user_provided_suffix",))
    write_model(theirs, ("model",), "its weights cannot be had; an open model is tuned instead")
    write_file(theirs, "training_data.path", ("training_file",), _fetch)
    is_completion = theirs.text("model").startswith(_COMPLETION_MODELS)
    theirs.write("training_data.format", "prompt-completion" if is_completion else "openai")
    _hyperparameters(theirs)
    write_held(theirs, ("validation_file",), _fetch)
    write_gate(theirs)
    _method(theirs)
    theirs.rest(_REASONS)


def _hyperparameters(theirs: Theirs) -> None:
    write_numbers(theirs, _at(theirs, "n_epochs"), _at(theirs, "batch_size"), None)
    at = _at(theirs, "learning_rate_multiplier")
    multiplier = theirs.number(*at)
    if multiplier is not None:
        theirs.write("hyperparameters.learning_rate_multiplier", multiplier, at)
        theirs.remark(at, "taken as it is, but it multiplies the rate of another service and model")


def _at(theirs: Theirs, name: str) -> KeyPath:
    """Where a hyperparameter stands: in its method, or in the older place if only that has a number."""
    newer = ("method", theirs.text("method", "type") or "supervised", "hyperparameters", name)
    older = ("hyperparameters", name)
    if theirs.get(*newer) is None:
        return older
    is_older_better = theirs.get(*newer) == "auto" and theirs.get(*older) not in (None, "auto")
    return older if is_older_better else newer


def _method(theirs: Theirs) -> None:
    at = ("method", "type")
    if theirs.get(*at) == "supervised":
        theirs.same(at, "every tuning here is supervised")
        return
    theirs.remark(at, reasons.PREFERENCES)
    if theirs.get(*at) == "dpo":
        theirs.step("write each preferred_output as the assistant's message of a row of messages")
    elif theirs.get(*at) is not None:
        theirs.step("write one right answer as the assistant's message of every row of messages")


def _fetch(name: str, file: str) -> str:
    url = f"https://api.openai.com/v1/files/{name}/content"
    return f'curl -f -H "Authorization: Bearer $OPENAI_API_KEY" {url} -o {file}   # before {END}'
