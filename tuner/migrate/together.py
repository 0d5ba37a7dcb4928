"""Together's fine-tuning job, as the API returns it, and the parameters it is created with.

Fields: ``FineTuningCreateParams`` in github.com/togethercomputer/together-py,
src/together/types/fine_tuning_create_params.py; ``FinetuneRequest`` and ``FinetuneResponse`` in
github.com/togethercomputer/together-python, src/together/types/finetune.py; the flat ``lora_*``
keys are those of that library's ``fine_tuning.create`` and of its command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.migrate import sections

if TYPE_CHECKING:
    from tuner.migrate.source import SourceConfig

_REASONS = (
    (sections.ADAPTER, "lora_r lora_alpha lora_dropout lora_trainable_modules training_type*"),
    (sections.OPTIMIZER, "weight_decay max_grad_norm"),
    (sections.SCHEDULE, "warmup_ratio lr_scheduler*"),
    (sections.SAVING, "n_checkpoints"),
    (sections.EVALUATING, "n_evals eval_steps"),
    (sections.TRACKER, "wandb_*"),
    (sections.PREFERENCES, "training_method* dpo_*"),
    (sections.OPEN_MODEL, "from_hf_model"),
    (sections.HUB, "hf_*"),
    (
        "weights of a job at Together; tuned_model_source continues from a model tuned here",
        "from_checkpoint",
    ),
    (sections.PACKING, "packing"),
    (sections.LENGTH, "max_seq_length"),
    (sections.SEED, "seed"),
    ("the job is named by suffix", "*output_name"),
    (
        sections.RECORD,
        """id job_id object status created_at updated_at started_at user_id owner_address events*
        token_count param_count total_price total_steps steps_completed epochs_completed
        evals_completed queue_depth progress* TrainingFile* ValidationFile*
        training_file_num_lines training_file_size enable_checkpoints eval_* price*
        multimodal_params*""",
    ),
)


def translate(source: SourceConfig) -> None:
    """Translate ``source``, recording every key in it."""
    sections.write_name(source, ("suffix",), ("output_name",), ("model_output_name",))
    sections.write_model(source, ("model",), sections.OPEN_MODEL)
    sections.write_file(source, "training_data.path", ("training_file",), _download_command)
    sections.write_number(source, "epoch_count", ("n_epochs",), 1, whole=True)
    sections.write_number(source, "batch_size", ("batch_size",), whole=True)
    sections.write_number(source, "learning_rate", ("learning_rate",), 1e-5)
    if source.get("validation_file"):
        sections.write_file(source, "evaluation.path", ("validation_file",), _download_command)
    else:
        sections.write_holdout(source)
    sections.write_gate(source)
    if source.get("training_method", "method") == "sft":
        source.keep(("training_method", "method"), sections.SUPERVISED_HERE)
    elif source.get("training_method") is not None:
        source.steps.append("write one right answer for each input: preference pairs are not used")
    for at in (("train_on_inputs",), ("training_method", "train_on_inputs")):
        if source.get(*at) is True:
            source.remark(at, sections.LOSS_ON_ALL)
        else:
            source.keep(at, sections.LOSS_ON_OUTPUT)
    for at in (("lora",), ("training_type", "type")):
        if source.get(*at) in (True, "Lora"):
            source.keep(at, sections.LORA_HERE)
        else:
            source.remark(at, sections.FULL)
    source.remark_rest(_REASONS)


def _download_command(name: str, file: str) -> str:
    url = f"https://api.together.xyz/v1/files/{name}/content"
    return f'curl -f -H "Authorization: Bearer $TOGETHER_API_KEY" {url} -o {file}'
