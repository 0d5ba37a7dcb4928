"""An Axolotl configuration.

Keys: ``AxolotlInputConfig`` and what it is made of in github.com/axolotl-ai-cloud/axolotl,
src/axolotl/utils/schemas/ (config.py, datasets.py, training.py, peft.py, model.py), and
https://docs.axolotl.ai/docs/config-reference.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.migrate import sections
from tuner.migrate.source import Remark

if TYPE_CHECKING:
    from tuner.migrate.source import SourceConfig
    from tuner.yaml_source import KeyPath

_REASONS = (
    (f"the first {sections.FIRST_DATASET}", "datasets.[1-9]*"),
    (sections.ONE_EVALUATION_FILE, "test_datasets.[1-9]*"),
    ("data_files names the file", "*datasets.*.path"),
    (sections.WHOLE_TEXTS, "*datasets.*.field*"),
    ("batch_size already includes it", "micro_batch_size gradient_accumulation_steps"),
    (sections.NO_SPLITS, "*datasets.*.split"),
    (sections.HUB, "*datasets.*.name"),
    (
        sections.LOSS_ON_OUTPUT,
        "*datasets.*.roles* *datasets.*.train_on* *datasets.*.message_field_training*",
    ),
    (sections.TEMPLATE, "*chat_template*"),
    (sections.SYSTEM_MESSAGE, "default_system_message"),
    (sections.TEMPLATE, "tokenizer_* special_tokens* tokens*"),
    (sections.LOSS_ON_ALL, "train_on_inputs"),
    (sections.PRECISION, "load_in_* lora_mlp_kernel lora_qkv_kernel lora_o_kernel"),
    (sections.ADAPTER, "adapter lora_* peft_* qlora_* relora*"),
    (
        sections.OPTIMIZER,
        """optimizer optim_* weight_decay adam_* max_grad_norm embedding_lr* loraplus_*
        neftune_noise_alpha lr_groups*""",
    ),
    (sections.SCHEDULE, "lr_scheduler* warmup_* cosine_* lr_quadratic_warmup lr_div_factor"),
    (sections.SEED, "seed"),
    (
        sections.TRACKER,
        """wandb_* mlflow_* comet_* use_wandb use_mlflow use_tensorboard logging_steps
        profiler_steps include_tokens_per_second trackio_* swanlab_*""",
    ),
    (
        sections.SAVING,
        """output_dir save_* saves_per_epoch resume_from_checkpoint hub_*
        auto_resume_from_checkpoints load_best_model_at_end overwrite_output_dir""",
    ),
    (
        sections.EVALUATING,
        """eval_* evals_per_epoch early_stopping_patience do_*_eval bench_* metric_for_best_model
        greater_is_better loss_watchdog_*""",
    ),
    (
        sections.PRECISION,
        """bf16 fp16 fp8 tf32 bfloat16 float16 float32 *attention attn_* flash_*
        gradient_checkpointing* torch_compile* torch_dtype unsloth_* liger_* plugins* gptq*
        bnb_config_kwargs* gc_steps""",
    ),
    (
        sections.DISTRIBUTED,
        """deepspeed fsdp* ddp* local_rank world_size device* max_memory* sequence_parallel_degree
        context_parallel_size tensor_parallel_size ray_* use_ray accelerator_config*
        gpu_memory_limit dp_* nccl_*""",
    ),
    (
        sections.PACKING,
        """sample_packing* eval_sample_packing pad_to_sequence_len group_by_length multipack_*
        batch_flattening curriculum_sampling excess_length_strategy""",
    ),
    (sections.LENGTH, "sequence_len min_sample_len max_prompt_len"),
    (
        sections.LOADING,
        """dataset_* dataloader_* shuffle_* skip_prepare_dataset trust_remote_code
        *datasets.*.trust_remote_code *datasets.*.shards* *datasets.*.ds_type
        *datasets.*.preprocess_shards remove_unused_columns low_cpu_mem_usage strict
        is_*_derived_model model_type resize_token_embeddings_to_32x streaming""",
    ),
    (
        sections.PREFERENCES,
        """rl trl* vllm* rl_beta dpo_* orpo_* kto_* simpo_* cpo_* rpo_* reward_model
        process_reward_model num_labels""",
    ),
    (sections.HUB, "hf_* push_dataset_to_hub revision_of_model *datasets.*.revision"),
    (sections.EPOCHS_ONLY, "max_steps"),
    ("text without an answer cannot be tuned on here", "pretraining_dataset*"),
    (sections.OPEN_MODEL, "base_model_*"),
)

_FORMATS = {"alpaca": "alpaca", "chat_template": "openai", "sharegpt": "sharegpt"}
"""Our format of a dataset type."""
_UNREADABLE = {
    "completion": sections.WHOLE_TEXTS,
    "pretrain": sections.WHOLE_TEXTS,
    "input_output": "segments with labels are not supported: write an input and an answer",
}


def translate(source: SourceConfig) -> None:
    """Translate ``source``, recording every key in it."""
    sections.write_name(source, ("hub_model_id",), ("wandb_name",), ("output_dir",))
    sections.write_model(source, ("base_model",), sections.OPEN_MODEL)
    _write_data(source, ("datasets", 0))
    if source.get("batch_size") is None:
        sections.write_batch_size(source, "micro_batch_size")
    else:
        sections.write_number(source, "batch_size", ("batch_size",), whole=True)
    sections.write_number(source, "epoch_count", ("num_epochs",), 1, whole=True)
    sections.write_number(source, "learning_rate", ("learning_rate",))
    if source.get("test_datasets", 0):
        source.remark(("val_set_size",), "the file of test_datasets is used for evaluation instead")
        at = ("test_datasets", 0, "path")
        sections.write_file(source, "evaluation.path", at, sections.hub_command)
        source.keep(
            ("test_datasets", 0, "type"),
            "held-out rows are read in the format of the training data",
        )
    else:
        sections.write_holdout(source, "val_set_size")
    sections.write_gate(source)
    for key, why in (("adapter", sections.LORA_HERE), ("train_on_inputs", sections.LOSS_ON_OUTPUT)):
        if source.get(key) in ("lora", "qlora", False):
            source.keep((key,), why)
    if not source.get("adapter"):
        source.remarks.append(Remark("adapter", "none", sections.FULL))
    source.remark_rest(_REASONS)


def _write_data(source: SourceConfig, at: KeyPath) -> None:
    where = (*at, "data_files")
    if not isinstance(source.get(*where), str):
        where = (*at, "path")
    sections.write_file(source, "training_data.path", where, sections.hub_command)
    kind = source.get(*at, "type")
    if isinstance(kind, dict):
        _write_columns(source, (*at, "type"))
        return
    name = source.text(*at, "type").partition(".")[0].partition(":")[0]
    mapping = source.get(*at, "message_property_mappings")
    role = mapping.get("role") if isinstance(mapping, dict) else None
    if role == "from" or source.get(*at, "field_messages") == "conversations":
        name = "sharegpt"
    shape = _FORMATS.get(name, "")
    if shape:
        source.write("training_data.format", shape, (*at, "type"))
        for each in ("message_property_mappings", "conversation"):
            source.keep((*at, each), f"as in the format {shape}")
        field = (*at, "field_messages")
        if source.get(*field) in ("messages", "conversations"):
            source.keep(field, f"as in the format {shape}")
        else:
            why = "the key must be messages, or conversations with from and value"
            source.remark(field, why)
    elif kind is not None:
        why = "this type is not supported: name the columns"
        source.remark((*at, "type"), _UNREADABLE.get(name, why))


def _write_columns(source: SourceConfig, at: KeyPath) -> None:
    """Translate a type that names its own columns."""
    for key, name in (("text_input", "field_instruction"), ("output", "field_output")):
        column = source.text(*at, name)
        if column:
            source.write(f"training_data.{key}", column, (*at, name))
    source.remark((*at, "field_input"), sections.TWO_INPUT_COLUMNS)
    for name in ("field_system", "system_prompt", "system_format", "format", "no_input_format"):
        source.remark((*at, name), "write what all rows share as instruction")
