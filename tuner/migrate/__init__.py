"""Translates tuning jobs of other tools into specs; a module per vendor."""

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
    """One kind of file that can be translated.

    Attributes:
        name: Shown to people.
        module: Has ``translate(source)``, which fills a SourceConfig.
        marks: Typical top-level keys; the vendor with most of them is chosen.
    """

    name: str
    module: str
    marks: frozenset[str]


class Translation(NamedTuple):
    """The result of a translation; every key of the source is in one of the first three.

    Attributes:
        vendor: The tool the file is from.
        lines: Of the spec, beside each the keys it came from.
        same: What holds here without a line in the spec.
        remarks: What has no counterpart, or changed its meaning.
        steps: What to do before the first run, a command each where there is one.
    """

    vendor: str
    lines: tuple[SpecLine, ...]
    same: tuple[Remark, ...]
    remarks: tuple[Remark, ...]
    steps: tuple[str, ...]


def _vendor(name: str, module: str, marks: str) -> Vendor:
    return Vendor(name, f"tuner.migrate.{module}", frozenset(marks.split()))


VENDORS = {
    "openai": _vendor(
        "OpenAI",
        "openai",
        "object training_file validation_file organization_id hyperparameters method "
        "integrations metadata result_files fine_tuned_model trained_tokens",
    ),
    "together": _vendor(
        "Together",
        "together",
        "training_file validation_file n_epochs n_checkpoints n_evals learning_rate batch_size "
        "warmup_ratio lora lora_r lora_alpha lora_dropout train_on_inputs training_type "
        "training_method from_checkpoint from_hf_model model_output_name",
    ),
    "axolotl": _vendor(
        "Axolotl",
        "axolotl",
        "base_model datasets val_set_size num_epochs micro_batch_size sequence_len adapter "
        "load_in_8bit load_in_4bit sample_packing lora_r dataset_prepared_path",
    ),
    "llamafactory": _vendor(
        "LLaMA-Factory",
        "llamafactory",
        "model_name_or_path stage do_train finetuning_type dataset dataset_dir template "
        "cutoff_len num_train_epochs per_device_train_batch_size val_size lora_rank",
    ),
}


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
    vendor = VENDORS[kind or _detect(document)]
    source = SourceConfig(document, spec_folder)
    import_module(vendor.module).translate(source)
    problems = [*document.problems, *source.problems]
    if problems:
        raise SpecError(sorted(problems))
    return Translation(
        vendor.name,
        tuple(source.lines),
        tuple(source.same),
        tuple(source.remarks),
        tuple(source.steps),
    )


def _detect(document: Document) -> str:
    keys = set(mapping_or_empty(document.value))
    marks = {name: len(vendor.marks & keys) for name, vendor in VENDORS.items()}
    most = max(marks.values())
    kinds = [name for name, count in marks.items() if count == most]
    if most and len(kinds) == 1:
        return kinds[0]
    known = ", ".join(vendor.name for vendor in VENDORS.values())
    what = "its keys fit several tools" if most else f"is no job or configuration of {known}"
    fix = f"name the tool: --kind {' or '.join(kinds if most else VENDORS)}"
    raise SpecError([document.problem((), what, fix, "unknown-kind")])
