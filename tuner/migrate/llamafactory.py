"""A LLaMA-Factory configuration, with the dataset_info.json beside its data.

Keys: the arguments in github.com/hiyouga/LLaMA-Factory, src/llamafactory/hparams/ (data_args.py,
finetuning_args.py, model_args.py, training_args.py, and transformers' TrainingArguments); data sets
are described in data/README.md there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner.migrate import sections
from tuner.migrate.source import UNKNOWN, Remark, read_source
from tuner.yaml_source import mapping_or_empty

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tuner.migrate.source import SourceConfig

INFO = "dataset_info.json"
_DEFAULT_BATCH = 8
"""Per device. This and the other defaults are those of transformers."""
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
_ALL_ROWS = "every row is used: `tuner data split` makes a smaller file"
_NO_TOOLS = "tool calls are not supported"

_REASONS = (
    (sections.LOADING, "trust_remote_code"),
    (sections.TEMPLATE, "template"),
    (sections.SYSTEM_MESSAGE, "default_system"),
    ("`tuner run` tunes and evaluates", "do_*"),
    (
        sections.ADAPTER,
        """lora_* additional_target use_rslora use_dora pissa_* create_new_adapter oft_*
        module_dropout freeze_* use_llama_pro adapter_name_or_path""",
    ),
    (
        sections.OPTIMIZER,
        """optim* weight_decay adam_* max_grad_norm loraplus_* use_galore galore_* use_badam badam_*
        use_apollo apollo_* use_muon use_adam_mini neftune_noise_alpha""",
    ),
    (sections.SCHEDULE, "lr_scheduler* warmup_*"),
    (sections.SEED, "seed data_seed"),
    (
        sections.TRACKER,
        """report_to run_name logging_* plot_loss use_swanlab swanlab_*
        include_num_input_tokens_seen include_tokens_per_second""",
    ),
    (
        sections.SAVING,
        """output_dir overwrite_output_dir save_* resume_from_checkpoint hub_* push_to_hub*
        load_best_model_at_end export_*""",
    ),
    (
        sections.EVALUATING,
        """per_device_eval_batch_size eval_* evaluation_strategy predict_with_generate
        compute_accuracy metric_for_best_model max_new_tokens top_p temperature""",
    ),
    (
        sections.PRECISION,
        """bf16 fp16 tf32 pure_bf16 flash_attn gradient_checkpointing*
        disable_gradient_checkpointing quantization_* double_quantization infer_dtype
        use_unsloth* enable_liger_kernel upcast_* rope_scaling shift_attn use_cache
        torch_compile*""",
    ),
    (sections.DISTRIBUTED, "deepspeed fsdp* ddp_* ray_* num_nodes"),
    (sections.PACKING, "packing neat_packing group_by_length"),
    (sections.LENGTH, "cutoff_len"),
    (_ALL_ROWS, "max_samples"),
    (sections.EPOCHS_ONLY, "max_steps"),
    (
        sections.LOADING,
        """overwrite_cache preprocessing_* dataloader_* streaming buffer_size mix_strategy
        interleave_probs tokenized_path cache_dir use_fast_tokenizer resize_vocab
        low_cpu_mem_usage remove_unused_columns media_dir data_shared* ignore_pad_token_for_loss
        image_* video_* audio_* print_param_status""",
    ),
    (sections.HUB, "hf_hub_token ms_hub_token om_hub_token model_revision"),
    (
        sections.PREFERENCES,
        "stage pref_* dpo_* kto_* simpo_* ppo_* ref_model* reward_model*",
    ),
    (sections.LOSS_ON_ALL, "train_on_prompt"),
    ("training_data.multi_turn says what happens to conversations of many turns", "mask_history"),
    (_NO_TOOLS, "tool_format"),
)

_TAGS = {
    "tags.user_tag": ("human", "user"),
    "tags.assistant_tag": ("gpt", "assistant"),
    "tags.system_tag": ("system",),
    "tags.observation_tag": ("observation",),
    "tags.function_tag": ("function_call",),
}
_READABLE: dict[str, dict[str, tuple[str, ...]]] = {
    "openai": {
        **_TAGS,
        "tags.user_tag": ("user",),
        "tags.assistant_tag": ("assistant",),
        "columns.messages": ("messages",),
        "tags.role_tag": ("role",),
        "tags.content_tag": ("content",),
    },
    "sharegpt": {
        **_TAGS,
        "columns.messages": ("conversations",),
        "columns.system": ("system",),
        "tags.role_tag": ("from", "role"),
        "tags.content_tag": ("value", "content"),
    },
}
"""The names of keys and roles that the reader of each of our formats knows."""
_RENAME = "this name is not supported: rename it in the file as the format requires"
_ENTRY_REASONS = {
    **dict.fromkeys((*_TAGS, "columns.messages", "tags.role_tag", "tags.content_tag"), _RENAME),
    **dict.fromkeys(
        ("ranking", "columns.chosen", "columns.rejected", "columns.kto_tag"), sections.PREFERENCES
    ),
    "columns.query": sections.TWO_INPUT_COLUMNS,
    "columns.system": "it is read if its name is system and that of the messages is conversations",
    "columns.history": "it is read if its name is history, in the format alpaca",
    "columns.tools": _NO_TOOLS,
    "subset": sections.HUB,
    "split": sections.NO_SPLITS,
    "folder": sections.HUB,
    "num_samples": _ALL_ROWS,
}


def translate(source: SourceConfig) -> None:
    """Translate ``source``, recording every key in it."""
    sections.write_name(source, ("run_name",), ("output_dir",))
    sections.write_model(source, ("model_name_or_path",), sections.OPEN_MODEL)
    _write_data(source)
    sections.write_batch_size(source, "per_device_train_batch_size", _DEFAULT_BATCH)
    sections.write_number(source, "epoch_count", ("num_train_epochs",), 3, whole=True)
    sections.write_number(source, "learning_rate", ("learning_rate",), 5e-5)
    if names := _listed(source, "eval_dataset"):
        file = _file(source, names[0])
        source.write("evaluation.path", file.path, ("eval_dataset",), note=file.note)
        if len(names) > 1:
            why = f"{sections.ONE_EVALUATION_FILE}: {names[0]} is used"
            source.remark(("eval_dataset",), why)
    else:
        sections.write_holdout(source, "val_size")
    sections.write_gate(source)
    if source.get("stage") == "sft":
        source.keep(("stage",), sections.SUPERVISED_HERE)
    elif source.get("stage") is not None:
        source.steps.append(
            "write one right answer for each input: only the stage sft is supported"
        )
    if source.get("finetuning_type") == "lora":
        source.keep(("finetuning_type",), sections.LORA_HERE)
    else:
        source.remark(("finetuning_type",), sections.FULL)
    if source.get("train_on_prompt") is False:
        source.keep(("train_on_prompt",), sections.LOSS_ON_OUTPUT)
    source.remark_rest(_REASONS)


def _write_data(source: SourceConfig) -> None:
    names = _listed(source, "dataset")
    if not names:
        fix = "add dataset: NAME"
        source.problems.append(source.document.problem((), "names no dataset", fix, "missing-key"))
        return
    if len(names) > 1:
        source.remark(("dataset",), f"{names[0]} {sections.FIRST_DATASET}")
    file = _file(source, names[0])
    origins = (("dataset",), ("dataset_dir",))
    source.write("training_data.path", file.path, *origins, note=file.note)
    entry = _entries(source).get(names[0])
    if isinstance(entry, dict):
        _write_format(source, names[0], entry)


def _listed(source: SourceConfig, key: str) -> list[str]:
    value = source.get(key)
    if isinstance(value, list):
        return [str(each) for each in value]
    return [each.strip() for each in source.text(key).split(",") if each.strip()]


def _info(source: SourceConfig) -> Path | None:
    folder = source.text("dataset_dir") or "data"
    return source.find_file(f"{folder}/{INFO}") or source.find_file(INFO)


def _entries(source: SourceConfig) -> Mapping[str, Any]:
    info = _info(source)
    return mapping_or_empty(read_source(info).value) if info else {}


def _file(source: SourceConfig, name: str) -> sections.FileReference:
    """Find the file of a data set through dataset_info.json."""
    info = _info(source)
    entry = _entries(source).get(name)
    if info is None or not isinstance(entry, dict):
        step = f"set training_data.path to the file of the data set {name}: {INFO} does not name it"
        source.steps.append(step)
        return sections.FileReference(f"{name}.json", "not known")
    for key in ("hf_hub_url", "ms_hub_url", "script_url"):
        if entry.get(key):
            return sections.locate_file(source, str(entry[key]), sections.hub_command)
    path = info.parent / str(entry.get("file_name", name))
    return sections.FileReference(source.relative_to_spec(path))


def _write_format(source: SourceConfig, name: str, entry: Mapping[str, Any]) -> None:
    """Write ``format`` or the two columns; everything else in the entry is remarked."""
    note = f"{INFO}, {name}"
    columns = mapping_or_empty(entry.get("columns"))
    flat = {key: value for key, value in entry.items() if key not in ("columns", "tags")}
    for section in ("columns", "tags"):
        keys = mapping_or_empty(entry.get(section))
        flat |= {f"{section}.{key}": value for key, value in keys.items()}
    used = {"file_name", "hf_hub_url", "ms_hub_url", "script_url", "formatting"}
    if entry.get("formatting", "alpaca") == "sharegpt":
        messages = columns.get("messages", "conversations")
        shape = "openai" if messages == "messages" else "sharegpt"
        source.write("training_data.format", shape, note=note)
        used |= {key for key, value in flat.items() if value in _READABLE[shape].get(key, ())}
    elif _ALPACA.items() <= {**_ALPACA, **columns}.items():
        source.write("training_data.format", "alpaca", note=note)
        used |= {f"columns.{key}" for key in _ALPACA}
        used |= {f"columns.{key}" for key in ("system", "history") if columns.get(key) == key}
    else:
        text_input = str(columns.get("prompt", "instruction"))
        source.write("training_data.text_input", text_input, note=note)
        source.write("training_data.output", str(columns.get("response", "output")), note=note)
        used |= {"columns.prompt", "columns.response"}
    for key, value in flat.items():
        if key not in used:
            why = _ENTRY_REASONS.get(key, UNKNOWN)
            source.remarks.append(Remark(f"{note}: {key}", str(value), why))
