"""OpenAI's fine-tuning job, as the API returns it and as it is created.

Fields: ``FineTuningJob`` and ``FineTuningJobCreateParams`` with their methods and hyperparameters in
github.com/openai/openai-python, src/openai/types/fine_tuning/, and the API reference,
https://platform.openai.com/docs/api-reference/fine-tuning/object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.migrate import sections
from tuner.migrate.source import SERVICE_DECIDES

if TYPE_CHECKING:
    from tuner.migrate.source import SourceConfig
    from tuner.yaml_source import KeyPath

LAST_DAY = "2027-01-06"
"""The last day of OpenAI's self-serve tuning."""
_COMPLETION_MODELS = ("babbage-002", "davinci-002", "ft:babbage", "ft:davinci")

_REASONS = (
    (
        "the file has it twice, and the other value is used",
        """hyperparameters.* method.*.hyperparameters.n_epochs method.*.hyperparameters.batch_size
        method.*.hyperparameters.learning_rate_multiplier""",
    ),
    (sections.PREFERENCES, "method.dpo* method.reinforcement*"),
    (sections.SEED, "seed"),
    (sections.TRACKER, "integrations*"),
    (sections.LABELS, "metadata*"),
    ("the model stays with OpenAI: its weights cannot be downloaded", "fine_tuned_model"),
    ("the job is named by user_provided_suffix", "suffix"),
    (
        sections.RECORD,
        """object id created_at finished_at estimated_finish status error* organization_id
        result_files* trained_tokens checkpoints* eval_id* usage_metrics* shared_with_openai
        user_provided_suffix""",
    ),
)


def translate(source: SourceConfig) -> None:
    """Translate ``source``, recording every key in it."""
    sections.write_name(source, ("suffix",), ("user_provided_suffix",))
    why = "its weights cannot be downloaded; an open model is tuned instead"
    sections.write_model(source, ("model",), why)
    sections.write_file(source, "training_data.path", ("training_file",), _download_command)
    is_completion = source.text("model").startswith(_COMPLETION_MODELS)
    source.write("training_data.format", "prompt-completion" if is_completion else "openai")
    sections.write_number(source, "epoch_count", _at(source, "n_epochs"), whole=True)
    sections.write_number(source, "batch_size", _at(source, "batch_size"), whole=True)
    at = _at(source, "learning_rate_multiplier")
    sections.write_number(source, "learning_rate_multiplier", at)
    if source.get(*at) not in SERVICE_DECIDES:
        source.remark(at, "unchanged, but it multiplies the rate of another service and model")
    if source.get("validation_file"):
        sections.write_file(source, "evaluation.path", ("validation_file",), _download_command)
    else:
        sections.write_holdout(source)
    sections.write_gate(source)
    _method(source)
    source.remark_rest(_REASONS)


def _at(source: SourceConfig, name: str) -> KeyPath:
    """Return the path of a hyperparameter: in ``method``, or at the top if only that has a number."""
    newer = ("method", source.text("method", "type") or "supervised", "hyperparameters", name)
    older = ("hyperparameters", name)
    if source.get(*newer) is None:
        return older
    has_number = source.get(*older) not in (None, "auto")
    return older if source.get(*newer) == "auto" and has_number else newer


def _method(source: SourceConfig) -> None:
    at = ("method", "type")
    method = source.get(*at)
    if method == "supervised":
        source.keep(at, sections.SUPERVISED_HERE)
        return
    source.remark(at, sections.PREFERENCES)
    if method == "dpo":
        source.steps.append(
            "write each preferred_output as the assistant's message of a row of messages"
        )
    elif method is not None:
        source.steps.append("write one right answer as the assistant's message of every row")


def _download_command(name: str, file: str) -> str:
    url = f"https://api.openai.com/v1/files/{name}/content"
    return (
        f'curl -f -H "Authorization: Bearer $OPENAI_API_KEY" {url} -o {file}   # before {LAST_DAY}'
    )
