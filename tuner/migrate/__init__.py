"""Translate tuning jobs of other tools into specs; a module per vendor."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from tuner.errors import SpecError
from tuner.migrate.source import Remark, SourceConfig, read_source
from tuner.yaml_source import mapping_or_empty

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.jobspec.scaffold import SpecLine
    from tuner.yaml_source import Document


class Vendor(NamedTuple):
    """A tool whose files can be translated; ``marks`` are its typical top-level keys."""

    name: str
    marks: str


class Translation(NamedTuple):
    """The result of a translation; every key of the source is in one of the first three.

    Attributes:
        vendor: The tool the file is from.
        lines: Of the spec; each notes the keys it was made from.
        same: Keys that need no line in the spec, because they are the default here.
        remarks: Keys without an equivalent, or with another meaning here.
        steps: What to do before the first run, as commands where possible.
    """

    vendor: str
    lines: tuple[SpecLine, ...]
    same: tuple[Remark, ...]
    remarks: tuple[Remark, ...]
    steps: tuple[str, ...]


VENDORS = {
    "openai": Vendor(
        "OpenAI",
        "object training_file validation_file organization_id hyperparameters method "
        "integrations metadata result_files fine_tuned_model trained_tokens",
    ),
    "together": Vendor(
        "Together",
        "training_file validation_file n_epochs n_checkpoints n_evals learning_rate batch_size "
        "warmup_ratio lora lora_r lora_alpha lora_dropout train_on_inputs training_type "
        "training_method from_checkpoint from_hf_model model_output_name",
    ),
    "axolotl": Vendor(
        "Axolotl",
        "base_model datasets val_set_size num_epochs micro_batch_size sequence_len adapter "
        "load_in_8bit load_in_4bit sample_packing lora_r dataset_prepared_path",
    ),
    "llamafactory": Vendor(
        "LLaMA-Factory",
        "model_name_or_path stage do_train finetuning_type dataset dataset_dir template "
        "cutoff_len num_train_epochs per_device_train_batch_size val_size lora_rank",
    ),
}
"""By the name of the module that translates."""


def translate(path: Path, spec_folder: Path, kind: str = "") -> Translation:
    """Translate a job or configuration of another tool.

    Args:
        path: The file, JSON or YAML.
        spec_folder: Where the spec will be; its paths are relative to that.
        kind: A key of ``VENDORS``; by default detected from the file's keys.

    Raises:
        SpecError: Every error in the file.
    """
    document = read_source(path)
    kind = kind or _detect(document)
    source = SourceConfig(document, spec_folder)
    import_module(f"tuner.migrate.{kind}").translate(source)
    problems = [*document.problems, *source.problems]
    if problems:
        raise SpecError(sorted(problems))
    return Translation(
        VENDORS[kind].name,
        tuple(source.lines),
        tuple(source.same),
        tuple(source.remarks),
        tuple(source.steps),
    )


def _detect(document: Document) -> str:
    keys = set(mapping_or_empty(document.value))
    marks = {name: len(keys & set(vendor.marks.split())) for name, vendor in VENDORS.items()}
    most = max(marks.values())
    kinds = [name for name, count in marks.items() if count == most]
    if most and len(kinds) == 1:
        return kinds[0]
    known = ", ".join(vendor.name for vendor in VENDORS.values())
    what = "its keys fit several tools" if most else f"is no job or configuration of {known}"
    fix = f"name the tool: --kind {' or '.join(kinds if most else VENDORS)}"
    raise SpecError([document.problem((), what, fix, "unknown-kind")])
