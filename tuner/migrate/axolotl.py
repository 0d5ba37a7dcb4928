"""An Axolotl configuration.

Keys: ``AxolotlInputConfig`` and what it is made of in github.com/axolotl-ai-cloud/axolotl,
src/axolotl/utils/schemas/ (config.py, datasets.py, training.py, peft.py, model.py), and
https://docs.axolotl.ai/docs/config-reference.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.migrate import common
from tuner.migrate.source import Remark

if TYPE_CHECKING:
    from tuner.migrate.source import SourceConfig
    from tuner.yaml_source import KeyPath

_REASONS = (
    (f"the first {common.FIRST_DATASET}", "datasets.[1-9]*"),
    ("a spec evaluates with one file", "test_datasets.[1-9]*"),
    ("data_files names the file", "*datasets.*.path"),
    (common.WHOLE_TEXTS, "*datasets.*.field*"),
    ("batch_size already includes it", "micro_batch_size gradient_accumulation_steps"),
    (common.NO_SPLITS, "*datasets.*.split"),
    (common.HUB, "*datasets.*.name"),
    (
        common.LOSS_ON_OUTPUT,
        "*datasets.*.roles* *datasets.*.train_on* *datasets.*.message_field_training*",
    ),
    (common.TEMPLATE, "*chat_template*"),
    (common.SYSTEM_MESSAGE, "default_system_message"),
    (common.TEMPLATE, "tokenizer_* special_tokens* tokens*"),
    (common.LOSS_ON_ALL, "train_on_inputs"),
    (common.PRECISION, "load_in_* lora_mlp_kernel lora_qkv_kernel lora_o_kernel"),
    (common.ADAPTER, "adapter lora_* peft_* qlora_* relora*"),
    (
        common.OPTIMIZER,
        """optimizer optim_* weight_decay adam_* max_grad_norm embedding_lr* loraplus_*
        neftune_noise_alpha lr_groups*""",
    ),
    (common.SCHEDULE, "lr_scheduler* warmup_* cosine_* lr_quadratic_warmup lr_div_factor"),
    (common.SEED, "seed"),
    (
        common.TRACKER,
        """wandb_* mlflow_* comet_* use_wandb use_mlflow use_tensorboard logging_steps
        profiler_steps include_tokens_per_second trackio_* swanlab_*""",
    ),
    (
        common.SAVING,
        """output_dir save_* saves_per_epoch resume_from_checkpoint hub_*
        auto_resume_from_checkpoints load_best_model_at_end overwrite_output_dir""",
    ),
    (
        common.EVALUATING,
        """eval_* evals_per_epoch early_stopping_patience do_*_eval bench_* metric_for_best_model
        greater_is_better loss_watchdog_*""",
    ),
    (
        common.PRECISION,
        """bf16 fp16 fp8 tf32 bfloat16 float16 float32 *attention attn_* flash_*
        gradient_checkpointing* torch_compile* torch_dtype unsloth_* liger_* plugins* gptq*
        bnb_config_kwargs* gc_steps""",
    ),
    (
        common.MANY,
        """deepspeed fsdp* ddp* local_rank world_size device* max_memory* sequence_parallel_degree
        context_parallel_size tensor_parallel_size ray_* use_ray accelerator_config*
        gpu_memory_limit dp_* nccl_*""",
    ),
    (
        common.PACKING,
        """sample_packing* eval_sample_packing pad_to_sequence_len group_by_length multipack_*
        batch_flattening curriculum_sampling excess_length_strategy""",
    ),
    (common.LENGTH, "sequence_len min_sample_len max_prompt_len"),
    (
        common.LOADING,
        """dataset_* dataloader_* shuffle_* skip_prepare_dataset trust_remote_code
        *datasets.*.trust_remote_code *datasets.*.shards* *datasets.*.ds_type
        *datasets.*.preprocess_shards remove_unused_columns low_cpu_mem_usage strict
        is_*_derived_model model_type resize_token_embeddings_to_32x streaming""",
    ),
    (
        common.PREFERENCES,
        """rl trl* vllm* rl_beta dpo_* orpo_* kto_* simpo_* cpo_* rpo_* reward_model
        process_reward_model num_labels""",
    ),
    (common.HUB, "hf_* push_dataset_to_hub revision_of_model *datasets.*.revision"),
    (common.EPOCHS_ONLY, "max_steps"),
    ("text without an answer cannot be tuned on here", "pretraining_dataset*"),
    (common.OPEN_MODEL, "base_model_*"),
)

_FORMATS = {"alpaca": "alpaca", "chat_template": "openai", "sharegpt": "sharegpt"}
"""Our format of a dataset type."""
_UNREADABLE = {
    "completion": common.WHOLE_TEXTS,
    "pretrain": common.WHOLE_TEXTS,
    "input_output": "segments with labels are not read: write an input and answer",
}


def translate(source: SourceConfig) -> None:
    """Fill ``source``."""
    common.write_name(source, ("hub_model_id",), ("wandb_name",), ("output_dir",))
    common.write_model(source, ("base_model",), common.OPEN_MODEL)
    _data(source, ("datasets", 0))
    _batch(source)
    defaults = common.Defaults(epochs=1)
    common.write_numbers(source, ("num_epochs",), None, ("learning_rate",), defaults)
    if source.get("test_datasets", 0):
        source.remark(("val_set_size",), "the file of test_datasets is evaluated with instead")
        at = ("test_datasets", 0, "path")
        common.write_file(source, "evaluation.path", at, common.fetch_from_hub)
        source.keep(("test_datasets", 0, "type"), "held-out rows are read as those to tune on")
    else:
        common.write_holdout(source, "val_set_size")
    common.write_gate(source)
    for key, why in (("adapter", common.LORA_HERE), ("train_on_inputs", common.LOSS_ON_OUTPUT)):
        if source.get(key) in ("lora", "qlora", False):
            source.keep((key,), why)
    if not source.get("adapter"):
        source.remarks.append(Remark("adapter", "none", common.FULL))
    source.remark_rest(_REASONS)


def _data(source: SourceConfig, at: KeyPath) -> None:
    where = (*at, "data_files")
    if not isinstance(source.get(*where), str):
        where = (*at, "path")
    common.write_file(source, "training_data.path", where, common.fetch_from_hub)
    kind = source.get(*at, "type")
    if isinstance(kind, dict):
        _columns(source, (*at, "type"))
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
            why = "the key is always messages, or conversations with from and value"
            source.remark(field, why)
    elif kind is not None:
        why = "rows of this type are not known here: name the columns"
        source.remark((*at, "type"), _UNREADABLE.get(name, why))


def _columns(source: SourceConfig, at: KeyPath) -> None:
    """Translate a type that names its own columns."""
    for key, name in (("text_input", "field_instruction"), ("output", "field_output")):
        column = source.text(*at, name)
        if column:
            source.write(f"training_data.{key}", column, (*at, name))
    source.remark((*at, "field_input"), common.TWO_INPUT_COLUMNS)
    for name in ("field_system", "system_prompt", "system_format", "format", "no_input_format"):
        source.remark((*at, name), "write what is the same for all rows as instruction")


def _batch(source: SourceConfig) -> None:
    """Write the batch size, a product there; the file does not say how many GPUs are used."""
    if source.get("batch_size") is not None:
        size = source.whole("batch_size")
        if size is not None:
            source.write("hyperparameters.batch_size", size, ("batch_size",))
        return
    origins = [("micro_batch_size",), ("gradient_accumulation_steps",)]
    micro, steps = (source.whole(*at) for at in origins)
    if micro is not None or steps is not None:
        size = (micro or 1) * (steps or 1)
        note = "their product, on one GPU"
        source.write("hyperparameters.batch_size", size, *origins, note=note)
