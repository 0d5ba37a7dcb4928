"""OpenAI's fine-tuning job, as the API returns it and as it is created.

Fields: ``FineTuningJob`` and ``FineTuningJobCreateParams`` with their methods and hyperparameters in
github.com/openai/openai-python, src/openai/types/fine_tuning/, and the API reference,
https://platform.openai.com/docs/api-reference/fine-tuning/object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.migrate import common

if TYPE_CHECKING:
    from tuner.migrate.source import SourceConfig
    from tuner.yaml_source import KeyPath

LAST_DAY = "2027-01-06"
"""The last day of OpenAI's self-serve tuning."""
_COMPLETION_MODELS = ("babbage-002", "davinci-002", "ft:babbage", "ft:davinci")

_REASONS = (
    (
        "the file has it twice, and the other was used",
        """hyperparameters.* method.*.hyperparameters.n_epochs method.*.hyperparameters.batch_size
        method.*.hyperparameters.learning_rate_multiplier""",
    ),
    (common.PREFERENCES, "method.dpo* method.reinforcement*"),
    (common.SEED, "seed"),
    (common.TRACKER, "integrations*"),
    (common.LABELS, "metadata*"),
    ("the model stays with OpenAI: its weights cannot be downloaded", "fine_tuned_model"),
    ("the job is named by user_provided_suffix", "suffix"),
    (
        common.RECORD,
        """object id created_at finished_at estimated_finish status error* organization_id
        result_files* trained_tokens checkpoints* eval_id* usage_metrics* shared_with_openai
        user_provided_suffix""",
    ),
)


def translate(source: SourceConfig) -> None:
    """Fill ``source``."""
    common.write_name(source, ("suffix",), ("user_provided_suffix",))
    why = "its weights cannot be downloaded; an open model is tuned instead"
    common.write_model(source, ("model",), why)
    common.write_file(source, "training_data.path", ("training_file",), _fetch)
    is_completion = source.text("model").startswith(_COMPLETION_MODELS)
    source.write("training_data.format", "prompt-completion" if is_completion else "openai")
    common.write_numbers(source, _at(source, "n_epochs"), _at(source, "batch_size"), None)
    at = _at(source, "learning_rate_multiplier")
    multiplier = source.number(*at)
    if multiplier is not None:
        source.write("hyperparameters.learning_rate_multiplier", multiplier, at)
        source.remark(at, "unchanged, but it multiplies the rate of another service and model")
    common.write_validation_file(source, ("validation_file",), _fetch)
    common.write_gate(source)
    _method(source)
    source.remark_rest(_REASONS)


def _at(source: SourceConfig, name: str) -> KeyPath:
    """Return the path of a hyperparameter: in its method, or in the older place if only that has a number."""
    newer = ("method", source.text("method", "type") or "supervised", "hyperparameters", name)
    older = ("hyperparameters", name)
    if source.get(*newer) is None:
        return older
    is_older_better = source.get(*newer) == "auto" and source.get(*older) not in (None, "auto")
    return older if is_older_better else newer


def _method(source: SourceConfig) -> None:
    at = ("method", "type")
    method = source.get(*at)
    if method == "supervised":
        source.keep(at, common.SUPERVISED_HERE)
        return
    source.remark(at, common.PREFERENCES)
    if method == "dpo":
        source.steps.append(
            "write each preferred_output as the assistant's message of a row of messages"
        )
    elif method is not None:
        source.steps.append("write one right answer as the assistant's message of every row")


def _fetch(name: str, file: str) -> str:
    url = f"https://api.openai.com/v1/files/{name}/content"
    return (
        f'curl -f -H "Authorization: Bearer $OPENAI_API_KEY" {url} -o {file}   # before {LAST_DAY}'
    )
