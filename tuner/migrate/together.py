"""Together's fine-tuning job, as the API returns it, and the parameters it is created with.

Fields: ``FineTuningCreateParams`` in github.com/togethercomputer/together-py,
src/together/types/fine_tuning_create_params.py; ``FinetuneRequest`` and ``FinetuneResponse`` in
github.com/togethercomputer/together-python, src/together/types/finetune.py; the flat ``lora_*``
keys are those of that library's ``fine_tuning.create`` and of its command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.migrate import common

if TYPE_CHECKING:
    from tuner.migrate.source import SourceConfig

_DEFAULTS = common.Defaults(epochs=1, rate=1e-5)

_REASONS = (
    (common.ADAPTER, "lora_r lora_alpha lora_dropout lora_trainable_modules training_type*"),
    (common.OPTIMIZER, "weight_decay max_grad_norm"),
    (common.SCHEDULE, "warmup_ratio lr_scheduler*"),
    (common.SAVING, "n_checkpoints"),
    (common.EVALUATING, "n_evals eval_steps"),
    (common.TRACKER, "wandb_*"),
    (common.PREFERENCES, "training_method* dpo_*"),
    (common.OPEN_MODEL, "from_hf_model"),
    (common.HUB, "hf_*"),
    (
        "weights of a job at Together; tuned_model_source continues from a model tuned here",
        "from_checkpoint",
    ),
    (common.PACKING, "packing"),
    (common.LENGTH, "max_seq_length"),
    (common.SEED, "seed"),
    ("the job is named by suffix", "*output_name"),
    (
        common.RECORD,
        """id job_id object status created_at updated_at started_at user_id owner_address events*
        token_count param_count total_price total_steps steps_completed epochs_completed
        evals_completed queue_depth progress* TrainingFile* ValidationFile*
        training_file_num_lines training_file_size enable_checkpoints eval_* price*
        multimodal_params*""",
    ),
)


def translate(source: SourceConfig) -> None:
    """Fill ``source``."""
    common.write_name(source, ("suffix",), ("output_name",), ("model_output_name",))
    common.write_model(source, ("model",), common.OPEN_MODEL)
    common.write_file(source, "training_data.path", ("training_file",), _fetch)
    common.write_numbers(source, ("n_epochs",), ("batch_size",), ("learning_rate",), _DEFAULTS)
    common.write_validation_file(source, ("validation_file",), _fetch)
    common.write_gate(source)
    if source.get("training_method", "method") == "sft":
        source.keep(("training_method", "method"), common.SUPERVISED_HERE)
    elif source.get("training_method") is not None:
        source.steps.append("write one right answer to each input: preference pairs are not read")
    for at in (("train_on_inputs",), ("training_method", "train_on_inputs")):
        if source.get(*at) is True:
            source.remark(at, common.LOSS_ON_ALL)
        else:
            source.keep(at, common.LOSS_ON_OUTPUT)
    for at in (("lora",), ("training_type", "type")):
        if source.get(*at) in (True, "Lora"):
            source.keep(at, common.LORA_HERE)
        else:
            source.remark(at, common.FULL)
    source.remark_rest(_REASONS)


def _fetch(name: str, file: str) -> str:
    url = f"https://api.together.xyz/v1/files/{name}/content"
    return f'curl -f -H "Authorization: Bearer $TOGETHER_API_KEY" {url} -o {file}'
