"""A LLaMA-Factory configuration, with the dataset_info.json beside its data.

Keys: the arguments in github.com/hiyouga/LLaMA-Factory, src/llamafactory/hparams/ (data_args.py,
finetuning_args.py, model_args.py, training_args.py, and transformers' TrainingArguments); data sets
are described in data/README.md there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner.migrate import reasons
from tuner.migrate.axolotl import fetch
from tuner.migrate.parts import (
    Place,
    Unsaid,
    find,
    find_place,
    relative,
    write_gate,
    write_holdout,
    write_model,
    write_name,
    write_numbers,
)
from tuner.migrate.reading import read_foreign
from tuner.migrate.theirs import UNKNOWN, Remark

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.migrate.theirs import Theirs

INFO = "dataset_info.json"
_UNSAID = Unsaid(epochs=3, rate=5e-5)
_BATCH = 8
"""Of a device, where nothing is said: these three are transformers' own."""
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}

_REASONS = (
    ("trust_remote_code", reasons.LOADING),
    ("template", reasons.TEMPLATE),
    ("default_system", "write it as training_data.instruction if the rows have none"),
    ("do_*", "`tuner run` tunes and evaluates"),
    *((key, reasons.ADAPTER) for key in (
        "lora_*", "additional_target", "use_rslora", "use_dora", "pissa_*", "create_new_adapter",
        "oft_*", "module_dropout", "freeze_*", "use_llama_pro", "adapter_name_or_path",
    )),
    *((key, reasons.OPTIMIZER) for key in (
        "optim*", "weight_decay", "adam_*", "max_grad_norm", "loraplus_*", "use_galore", "galore_*",
        "use_badam", "badam_*", "use_apollo", "apollo_*", "use_muon", "use_adam_mini",
        "neftune_noise_alpha",
    )),
    *((key, reasons.SCHEDULE) for key in ("lr_scheduler*", "warmup_*")),
    *((key, reasons.SEED) for key in ("seed", "data_seed")),
    *((key, reasons.TRACKER) for key in (
        "report_to", "run_name", "logging_*", "plot_loss", "use_swanlab", "swanlab_*",
        "include_num_input_tokens_seen", "include_tokens_per_second",
    )),
    *((key, reasons.SAVING) for key in (
        "output_dir", "overwrite_output_dir", "save_*", "resume_from_checkpoint", "hub_*",
        "push_to_hub*", "load_best_model_at_end", "export_*",
    )),
    *((key, reasons.EVALUATING) for key in (
        "per_device_eval_batch_size", "eval_*", "evaluation_strategy", "predict_with_generate",
        "compute_accuracy", "metric_for_best_model", "max_new_tokens", "top_p", "temperature",
    )),
    *((key, reasons.PRECISION) for key in (
        "bf16", "fp16", "tf32", "pure_bf16", "flash_attn", "gradient_checkpointing*",
        "disable_gradient_checkpointing", "quantization_*", "double_quantization", "infer_dtype",
        "use_unsloth*", "enable_liger_kernel", "upcast_*", "rope_scaling", "shift_attn",
        "use_cache", "torch_compile*",
    )),
    *((key, reasons.MANY) for key in ("deepspeed", "fsdp*", "ddp_*", "ray_*", "num_nodes")),
    *((key, reasons.PACKING) for key in ("packing", "neat_packing", "group_by_length")),
    ("cutoff_len", reasons.LENGTH),
    ("max_samples", "every row is tuned on: `tuner data split` makes a smaller file"),
    ("max_steps", "a job ends after its epochs: set epoch_count"),
    *((key, reasons.LOADING) for key in (
        "overwrite_cache", "preprocessing_*", "dataloader_*", "streaming", "buffer_size",
        "mix_strategy", "interleave_probs", "tokenized_path", "cache_dir", "use_fast_tokenizer",
        "resize_vocab", "low_cpu_mem_usage", "remove_unused_columns", "media_dir", "data_shared*",
        "ignore_pad_token_for_loss", "image_*", "video_*", "audio_*", "print_param_status",
    )),
    *((key, reasons.HUB) for key in ("hf_hub_token", "ms_hub_token", "om_hub_token", "model_revision")),
    *((key, reasons.PREFERENCES) for key in (
        "stage", "pref_*", "dpo_*", "kto_*", "simpo_*", "ppo_*", "ref_model*", "reward_model*",
    )),
    ("train_on_prompt", reasons.LOSS_ON_ALL),
    ("mask_history", "training_data.multi_turn says what becomes of conversations of many turns"),
    ("tool_format", "calls of tools are not tuned on here"),
)  # fmt: skip


def translate(theirs: Theirs) -> None:
    """Fill ``theirs``."""
    write_name(theirs, ("run_name",), ("output_dir",))
    write_model(theirs, ("model_name_or_path",), reasons.OPEN_MODEL)
    _data(theirs)
    _batch(theirs)
    write_numbers(theirs, ("num_train_epochs",), None, ("learning_rate",), _UNSAID)
    _held_out(theirs)
    write_gate(theirs)
    _method(theirs)
    theirs.rest(_REASONS)


def _method(theirs: Theirs) -> None:
    if theirs.get("stage") == "sft":
        theirs.same(("stage",), "every tuning here is supervised")
    elif theirs.get("stage") is not None:
        theirs.step("write one right answer to each input: other stages than sft are not done here")
    at = ("finetuning_type",)
    if theirs.get(*at) == "lora":
        theirs.same(at, "every tuning here is LoRA")
    else:
        theirs.remark(at, reasons.FULL)
    if theirs.get("train_on_prompt") is False:
        theirs.same(("train_on_prompt",), reasons.LOSS_ON_OUTPUT)


def _batch(theirs: Theirs) -> None:
    """Their batch is a product; of several GPUs nothing is said in the file."""
    sources = [("per_device_train_batch_size",), ("gradient_accumulation_steps",)]
    micro, steps = (theirs.whole(*at) for at in sources)
    size = (micro or _BATCH) * (steps or 1)
    note = "their product, on one GPU" if micro else f"on one GPU, of {_BATCH} by default"
    theirs.write("hyperparameters.batch_size", size, *sources, note=note)


def _held_out(theirs: Theirs) -> None:
    names = _listed(theirs, "eval_dataset")
    if not names:
        write_holdout(theirs, "val_size")
        return
    place = _file(theirs, names[0])
    theirs.write("evaluation.path", place.path, ("eval_dataset",), note=place.note)
    if len(names) > 1:
        theirs.remark(("eval_dataset",), f"a spec evaluates with one file: {names[0]} is taken")


def _data(theirs: Theirs) -> None:
    names = _listed(theirs, "dataset")
    if not names:
        theirs.problems.append(
            theirs.document.problem((), "names no dataset", "add dataset: NAME", "missing-key")
        )
        return
    if len(names) > 1:
        why = f"{names[0]} is taken; training_data.path may be a list: add the others"
        theirs.remark(("dataset",), why)
    entry = _entries(theirs).get(names[0])
    place = _file(theirs, names[0])
    sources = (("dataset",), ("dataset_dir",))
    theirs.write("training_data.path", place.path, *sources, note=place.note)
    if isinstance(entry, dict):
        _shape(theirs, names[0], entry)


def _listed(theirs: Theirs, key: str) -> list[str]:
    value = theirs.get(key)
    if isinstance(value, list):
        return [str(each) for each in value]
    return [each.strip() for each in theirs.text(key).split(",") if each.strip()]


def _info(theirs: Theirs) -> Path | None:
    return find(theirs, INFO, theirs.text("dataset_dir") or "data") or find(theirs, INFO)


def _entries(theirs: Theirs) -> dict[str, Any]:
    info = _info(theirs)
    value = read_foreign(info).value if info else None
    return value if isinstance(value, dict) else {}


def _file(theirs: Theirs, name: str) -> Place:
    """Where a data set's file is, as dataset_info.json says."""
    info = _info(theirs)
    entry = _entries(theirs).get(name)
    if info is None or not isinstance(entry, dict):
        theirs.step(f"say in training_data.path where the data set {name} is: {INFO} does not tell")
        return Place(f"{name}.json", "not known")
    for key in ("hf_hub_url", "ms_hub_url", "script_url"):
        if entry.get(key):
            return find_place(theirs, str(entry[key]), fetch)
    return Place(relative(theirs, info.parent / str(entry.get("file_name", name))))


def _shape(theirs: Theirs, name: str, entry: dict[str, Any]) -> None:
    """``format`` or the two columns; whatever else the entry says is remarked."""
    note = f"{INFO}, {name}"
    columns = _mapping(entry, "columns")
    used = {"file_name", "hf_hub_url", "ms_hub_url", "script_url", "formatting"}
    if entry.get("formatting", "alpaca") == "sharegpt":
        messages = columns.get("messages", "conversations")
        shape = "openai" if messages == "messages" else "sharegpt"
        theirs.write("training_data.format", shape, note=note)
        used |= {key for key, value in _flat(entry).items() if value in _READ[shape].get(key, ())}
    elif _ALPACA.items() <= (_ALPACA | columns).items():
        theirs.write("training_data.format", "alpaca", note=note)
        used |= {f"columns.{key}" for key in _ALPACA}
        used |= {f"columns.{key}" for key in ("system", "history") if columns.get(key) == key}
    else:
        theirs.write(
            "training_data.text_input", str(columns.get("prompt", "instruction")), note=note
        )
        theirs.write("training_data.output", str(columns.get("response", "output")), note=note)
        used |= {"columns.prompt", "columns.response"}
    for key, value in _flat(entry).items():
        if key not in used:
            why = _ENTRY_REASONS.get(key, UNKNOWN)
            theirs.remarks.append(Remark(f"{note}: {key}", str(value), why))


def _flat(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry's keys, those of its two mappings with dots."""
    inner = {
        f"{name}.{key}": value
        for name in ("columns", "tags")
        for key, value in _mapping(entry, name).items()
    }
    return {key: value for key, value in entry.items() if key not in ("columns", "tags")} | inner


def _mapping(entry: dict[str, Any], key: str) -> dict[str, Any]:
    value = entry.get(key)
    return value if isinstance(value, dict) else {}


_TAGS = {
    "tags.user_tag": ("human", "user"),
    "tags.assistant_tag": ("gpt", "assistant"),
    "tags.system_tag": ("system",),
    "tags.observation_tag": ("observation",),
    "tags.function_tag": ("function_call",),
}
_READ: dict[str, dict[str, tuple[str, ...]]] = {
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
"""What the keys of conversations and the speakers in them may be called to be read as they are."""
_RENAMED = "no such name is read here: rename it in the file as the format has it"

_ENTRY_REASONS = {
    **dict.fromkeys((*_TAGS, "columns.messages", "tags.role_tag", "tags.content_tag"), _RENAMED),
    "ranking": reasons.PREFERENCES,
    "columns.query": "one column is the input here: join the two in the file",
    "columns.system": "it is read if it is called system, and the messages conversations",
    "columns.history": "it is read if it is called history, in the format alpaca",
    "columns.tools": "calls of tools are not tuned on here",
    "columns.chosen": reasons.PREFERENCES,
    "columns.rejected": reasons.PREFERENCES,
    "columns.kto_tag": reasons.PREFERENCES,
    "subset": reasons.HUB,
    "split": "a file has no splits: what is downloaded is the split train",
    "folder": reasons.HUB,
    "num_samples": "every row is tuned on: `tuner data split` makes a smaller file",
}
