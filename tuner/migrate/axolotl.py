"""An Axolotl configuration.

Keys: ``AxolotlInputConfig`` and what it is made of in github.com/axolotl-ai-cloud/axolotl,
src/axolotl/utils/schemas/ (config.py, datasets.py, training.py, peft.py, model.py), and
https://docs.axolotl.ai/docs/config-reference.html.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tuner.migrate import reasons
from tuner.migrate.parts import (
    Unsaid,
    write_file,
    write_gate,
    write_holdout,
    write_model,
    write_name,
    write_numbers,
)
from tuner.migrate.theirs import Remark

if TYPE_CHECKING:
    from tuner.migrate.theirs import Theirs
    from tuner.yaml_source import KeyPath

_REASONS = (
    ("datasets.[1-9]*", "the first is taken; training_data.path may be a list: add the others"),
    ("test_datasets.[1-9]*", "a spec evaluates with one file"),
    ("*datasets.*.path", "data_files names the file"),
    ("*datasets.*.field*", "whole texts have no input and answer: part them in two columns"),
    ("micro_batch_size", "batch_size is the whole of it"),
    ("gradient_accumulation_steps", "batch_size is the whole of it"),
    ("*datasets.*.split", "a file has no splits: what is downloaded is the split train"),
    ("*datasets.*.name", reasons.HUB),
    ("*datasets.*.roles*", reasons.LOSS_ON_OUTPUT),
    ("*datasets.*.train_on*", reasons.LOSS_ON_OUTPUT),
    ("*datasets.*.message_field_training*", reasons.LOSS_ON_OUTPUT),
    ("*chat_template*", reasons.TEMPLATE),
    ("default_system_message", "write it as training_data.instruction if the rows have none"),
    ("tokenizer_*", reasons.TEMPLATE),
    ("special_tokens*", reasons.TEMPLATE),
    ("tokens*", reasons.TEMPLATE),
    ("train_on_inputs", reasons.LOSS_ON_ALL),
    ("load_in_*", reasons.PRECISION),
    ("lora_mlp_kernel", reasons.PRECISION),
    ("lora_qkv_kernel", reasons.PRECISION),
    ("lora_o_kernel", reasons.PRECISION),
    *((key, reasons.ADAPTER) for key in ("adapter", "lora_*", "peft_*", "qlora_*", "relora*")),
    *((key, reasons.OPTIMIZER) for key in (
        "optimizer", "optim_*", "weight_decay", "adam_*", "max_grad_norm", "embedding_lr*",
        "loraplus_*", "neftune_noise_alpha", "lr_groups*",
    )),
    *((key, reasons.SCHEDULE) for key in (
        "lr_scheduler*", "warmup_*", "cosine_*", "lr_quadratic_warmup", "lr_div_factor",
    )),
    ("seed", reasons.SEED),
    *((key, reasons.TRACKER) for key in (
        "wandb_*", "mlflow_*", "comet_*", "use_wandb", "use_mlflow", "use_tensorboard",
        "logging_steps", "profiler_steps", "include_tokens_per_second", "trackio_*", "swanlab_*",
    )),
    *((key, reasons.SAVING) for key in (
        "output_dir", "save_*", "saves_per_epoch", "resume_from_checkpoint", "hub_*",
        "auto_resume_from_checkpoints", "load_best_model_at_end", "overwrite_output_dir",
    )),
    *((key, reasons.EVALUATING) for key in (
        "eval_*", "evals_per_epoch", "early_stopping_patience", "do_*_eval", "bench_*",
        "metric_for_best_model", "greater_is_better", "loss_watchdog_*",
    )),
    *((key, reasons.PRECISION) for key in (
        "bf16", "fp16", "fp8", "tf32", "bfloat16", "float16", "float32", "*attention", "attn_*",
        "flash_*", "gradient_checkpointing*", "torch_compile*", "torch_dtype", "unsloth_*",
        "liger_*", "plugins*", "gptq*", "bnb_config_kwargs*", "gc_steps",
    )),
    *((key, reasons.MANY) for key in (
        "deepspeed", "fsdp*", "ddp*", "local_rank", "world_size", "device*", "max_memory*",
        "sequence_parallel_degree", "context_parallel_size", "tensor_parallel_size", "ray_*",
        "use_ray", "accelerator_config*", "gpu_memory_limit", "dp_*", "nccl_*",
    )),
    *((key, reasons.PACKING) for key in (
        "sample_packing*", "eval_sample_packing", "pad_to_sequence_len", "group_by_length",
        "multipack_*", "batch_flattening", "curriculum_sampling", "excess_length_strategy",
    )),
    *((key, reasons.LENGTH) for key in ("sequence_len", "min_sample_len", "max_prompt_len")),
    *((key, reasons.LOADING) for key in (
        "dataset_*", "dataloader_*", "shuffle_*", "skip_prepare_dataset", "trust_remote_code",
        "*datasets.*.trust_remote_code", "*datasets.*.shards*", "*datasets.*.ds_type",
        "*datasets.*.preprocess_shards", "remove_unused_columns", "low_cpu_mem_usage", "strict",
        "is_*_derived_model", "model_type", "resize_token_embeddings_to_32x", "streaming",
    )),
    *((key, reasons.PREFERENCES) for key in (
        "rl", "trl*", "vllm*", "rl_beta", "dpo_*", "orpo_*", "kto_*", "simpo_*", "cpo_*", "rpo_*",
        "reward_model", "process_reward_model", "num_labels",
    )),
    *((key, reasons.HUB) for key in (
        "hf_*", "push_dataset_to_hub", "revision_of_model", "*datasets.*.revision",
    )),
    ("max_steps", "a job ends after its epochs: set epoch_count"),
    ("pretraining_dataset*", "text without an answer cannot be tuned on here"),
    ("base_model_*", reasons.OPEN_MODEL),
)  # fmt: skip


class _Shape(NamedTuple):
    """How the rows of a dataset type are written: a format, or the reason why they cannot be read."""

    format: str = ""
    why_not: str = ""


_SHAPES = {
    "alpaca": _Shape("alpaca"),
    "chat_template": _Shape("openai"),
    "sharegpt": _Shape("sharegpt"),
    "completion": _Shape(why_not="whole texts have no input and answer: part them in two columns"),
    "pretrain": _Shape(why_not="whole texts have no input and answer: part them in two columns"),
    "input_output": _Shape(why_not="segments with labels are not read: write an input and answer"),
}


def translate(theirs: Theirs) -> None:
    """Fill ``theirs``."""
    write_name(theirs, ("hub_model_id",), ("wandb_name",), ("output_dir",))
    write_model(theirs, ("base_model",), reasons.OPEN_MODEL)
    _data(theirs, ("datasets", 0))
    _batch(theirs)
    write_numbers(theirs, ("num_epochs",), None, ("learning_rate",), Unsaid(epochs=1))
    _held_out(theirs)
    write_gate(theirs)
    for at in (("adapter",), ("train_on_inputs",)):
        if theirs.get(*at) in ("lora", "qlora", False):
            why = "every tuning here is LoRA" if at == ("adapter",) else reasons.LOSS_ON_OUTPUT
            theirs.same(at, why)
    if not theirs.get("adapter"):
        theirs.remarks.append(Remark("adapter", "none", reasons.FULL))
    theirs.rest(_REASONS)


def _data(theirs: Theirs, at: KeyPath) -> None:
    where = (*at, "data_files")
    if not isinstance(theirs.get(*where), str):
        where = (*at, "path")
    write_file(theirs, "training_data.path", where, fetch)
    kind = theirs.get(*at, "type")
    if isinstance(kind, dict):
        _columns(theirs, (*at, "type"))
        return
    shape = _shape(theirs, at)
    if shape.format:
        theirs.write("training_data.format", shape.format, (*at, "type"))
        for name in ("message_property_mappings", "conversation"):
            theirs.same((*at, name), f"as the format {shape.format} has it")
        _messages(theirs, (*at, "field_messages"), shape.format)
    elif kind is not None:
        theirs.remark((*at, "type"), shape.why_not)


def _messages(theirs: Theirs, at: KeyPath, name: str) -> None:
    if theirs.get(*at) in ("messages", "conversations"):
        theirs.same(at, f"as the format {name} has it")
    else:
        theirs.remark(at, "the key is always messages, or conversations with from and value")


def _shape(theirs: Theirs, at: KeyPath) -> _Shape:
    name = theirs.text(*at, "type").partition(".")[0].partition(":")[0]
    mapping = theirs.get(*at, "message_property_mappings")
    role = mapping.get("role") if isinstance(mapping, dict) else None
    if role == "from" or theirs.get(*at, "field_messages") == "conversations":
        return _SHAPES["sharegpt"]
    return _SHAPES.get(name, _Shape(why_not="rows of this type are not known here: name columns"))


def _columns(theirs: Theirs, at: KeyPath) -> None:
    """A type that names its own columns."""
    for ours, name in (("text_input", "field_instruction"), ("output", "field_output")):
        column = theirs.text(*at, name)
        if column:
            theirs.write(f"training_data.{ours}", column, (*at, name))
    theirs.remark((*at, "field_input"), "one column is the input here: join the two in the file")
    for name in ("field_system", "system_prompt", "system_format", "format", "no_input_format"):
        theirs.remark((*at, name), "write what is the same for all rows as instruction")


def _batch(theirs: Theirs) -> None:
    """Their batch is a product; of several GPUs nothing is said in the file."""
    if theirs.get("batch_size") is not None:
        size, sources = theirs.whole("batch_size"), [("batch_size",)]
    else:
        sources = [("micro_batch_size",), ("gradient_accumulation_steps",)]
        micro, steps = (theirs.whole(*at) for at in sources)
        size = None if micro is None and steps is None else (micro or 1) * (steps or 1)
    if size is not None:
        note = "their product, on one GPU" if len(sources) > 1 else ""
        theirs.write("hyperparameters.batch_size", size, *sources, note=note)


def _held_out(theirs: Theirs) -> None:
    if not theirs.get("test_datasets", 0):
        write_holdout(theirs, "val_set_size")
        return
    theirs.remark(("val_set_size",), "the file of test_datasets is evaluated with instead")
    write_file(theirs, "evaluation.path", ("test_datasets", 0, "path"), fetch)
    theirs.same(("test_datasets", 0, "type"), "held-out rows are read as those to tune on")


def fetch(name: str, file: str) -> str:
    """The command that saves a data set of the Hugging Face hub."""
    if Path(name).is_absolute() or name.startswith((".", "s3:", "gs:", "az:")):
        return f"copy {name} to {file}"
    code = f"import datasets; datasets.load_dataset('{name}', split='train').to_json('{file}')"
    return f'python -c "{code}"'
