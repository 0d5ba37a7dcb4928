"""Together's fine-tuning job, as the API gives it, and the parameters it is created with.

Fields: ``FineTuningCreateParams`` in github.com/togethercomputer/together-py,
src/together/types/fine_tuning_create_params.py; ``FinetuneRequest`` and ``FinetuneResponse`` in
github.com/togethercomputer/together-python, src/together/types/finetune.py; the flat ``lora_*``
keys are those of that library's ``fine_tuning.create`` and of its command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.migrate import reasons
from tuner.migrate.parts import (
    Unsaid,
    write_file,
    write_gate,
    write_held,
    write_model,
    write_name,
    write_numbers,
)

if TYPE_CHECKING:
    from tuner.migrate.theirs import Theirs

_UNSAID = Unsaid(epochs=1, rate=1e-5)

_REASONS = (
    *((key, reasons.ADAPTER) for key in (
        "lora_r", "lora_alpha", "lora_dropout", "lora_trainable_modules", "training_type*",
    )),
    *((key, reasons.OPTIMIZER) for key in ("weight_decay", "max_grad_norm")),
    *((key, reasons.SCHEDULE) for key in ("warmup_ratio", "lr_scheduler*")),
    ("n_checkpoints", reasons.SAVING),
    ("n_evals", reasons.EVALUATING),
    ("eval_steps", reasons.EVALUATING),
    ("wandb_*", reasons.TRACKER),
    ("training_method*", reasons.PREFERENCES),
    ("dpo_*", reasons.PREFERENCES),
    ("from_hf_model", reasons.OPEN_MODEL),
    ("hf_*", reasons.HUB),
    ("from_checkpoint", "weights of a job of theirs; tuned_model_source goes on from one of ours"),
    ("packing", reasons.PACKING),
    ("max_seq_length", reasons.LENGTH),
    ("seed", reasons.SEED),
    ("*output_name", "the job is named by suffix"),
    *((key, reasons.RECORD) for key in (
        "id", "job_id", "object", "status", "created_at", "updated_at", "started_at", "user_id",
        "owner_address", "events*", "token_count", "param_count", "total_price", "total_steps",
        "steps_completed", "epochs_completed", "evals_completed", "queue_depth", "progress*",
        "TrainingFile*", "ValidationFile*", "training_file_num_lines", "training_file_size",
        "enable_checkpoints", "eval_*", "price*", "multimodal_params*",
    )),
)  # fmt: skip


def translate(theirs: Theirs) -> None:
    """Fill ``theirs``."""
    write_name(theirs, ("suffix",), ("output_name",), ("model_output_name",))
    write_model(theirs, ("model",), reasons.OPEN_MODEL)
    write_file(theirs, "training_data.path", ("training_file",), _fetch)
    write_numbers(theirs, ("n_epochs",), ("batch_size",), ("learning_rate",), _UNSAID)
    write_held(theirs, ("validation_file",), _fetch)
    write_gate(theirs)
    _method(theirs)
    _adapter(theirs)
    theirs.rest(_REASONS)


def _method(theirs: Theirs) -> None:
    if theirs.get("training_method", "method") == "sft":
        theirs.same(("training_method", "method"), "every tuning here is supervised")
    elif theirs.get("training_method") is not None:
        theirs.step("write one right answer to each input: pairs of better and worse are not read")
    at = ("train_on_inputs",)
    inside = ("training_method", "train_on_inputs")
    for each in (at, inside):
        if theirs.get(*each) is True:
            theirs.remark(each, reasons.LOSS_ON_ALL)
        else:
            theirs.same(each, reasons.LOSS_ON_OUTPUT)


def _adapter(theirs: Theirs) -> None:
    for at in (("lora",), ("training_type", "type")):
        if theirs.get(*at) in (True, "Lora"):
            theirs.same(at, "every tuning here is LoRA")
        else:
            theirs.remark(at, reasons.FULL)


def _fetch(name: str, file: str) -> str:
    url = f"https://api.together.xyz/v1/files/{name}/content"
    return f'curl -f -H "Authorization: Bearer $TOGETHER_API_KEY" {url} -o {file}'
