"""Other people's tuning jobs made specs: here, what a translation is, and the table of vendors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from tuner.errors import SpecError
from tuner.migrate.reading import read_foreign
from tuner.migrate.theirs import Remark, Theirs

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.jobspec.scaffold import SpecLine
    from tuner.yaml_source import Document


class Foreign(NamedTuple):
    """One kind of file that can be translated.

    Attributes:
        vendor: Its name, for people.
        function: ``module:function``, called with a Theirs, which it fills.
        marks: Top-level keys it is known by; the kind that has most of them is taken.
    """

    vendor: str
    function: str
    marks: frozenset[str]


class Translation(NamedTuple):
    """What a foreign file becomes; every key of it is in one of the first three.

    Attributes:
        vendor: Who reads such files.
        lines: Of the spec, beside each the keys it came from.
        same: What holds here without being said, a sentence each.
        remarks: What has no counterpart, or changed its meaning.
        steps: What to do before the first run, a command each where there is one.
    """

    vendor: str
    lines: tuple[SpecLine, ...]
    same: tuple[Remark, ...]
    remarks: tuple[Remark, ...]
    steps: tuple[str, ...]


def _marks(text: str) -> frozenset[str]:
    return frozenset(text.split())


FOREIGN = {
    "openai": Foreign(
        "OpenAI",
        "tuner.migrate.openai:translate",
        _marks(
            "object training_file validation_file organization_id hyperparameters method "
            "integrations metadata result_files fine_tuned_model trained_tokens"
        ),
    ),
    "together": Foreign(
        "Together",
        "tuner.migrate.together:translate",
        _marks(
            "training_file validation_file n_epochs n_checkpoints n_evals learning_rate batch_size "
            "warmup_ratio lora lora_r lora_alpha lora_dropout train_on_inputs training_type "
            "training_method from_checkpoint from_hf_model model_output_name"
        ),
    ),
    "axolotl": Foreign(
        "Axolotl",
        "tuner.migrate.axolotl:translate",
        _marks(
            "base_model datasets val_set_size num_epochs micro_batch_size sequence_len adapter "
            "load_in_8bit load_in_4bit sample_packing lora_r dataset_prepared_path"
        ),
    ),
    "llamafactory": Foreign(
        "LLaMA-Factory",
        "tuner.migrate.llamafactory:translate",
        _marks(
            "model_name_or_path stage do_train finetuning_type dataset dataset_dir template "
            "cutoff_len num_train_epochs per_device_train_batch_size val_size lora_rank"
        ),
    ),
}


def translate(path: Path, spec_folder: Path, kind: str = "") -> Translation:
    """Make a spec of a foreign job or configuration.

    Args:
        path: The foreign file, JSON or YAML.
        spec_folder: Where the spec will be; its paths are relative to that.
        kind: A key of ``FOREIGN``; without one the file's keys say it.

    Raises:
        SpecError: Everything that is wrong with the file.
    """
    document = read_foreign(path)
    foreign = FOREIGN[kind or _kind(document)]
    theirs = Theirs(document, spec_folder)
    module, _, function = foreign.function.partition(":")
    getattr(import_module(module), function)(theirs)
    problems = [*document.problems, *theirs.problems]
    if problems:
        raise SpecError(sorted(problems))
    return Translation(
        foreign.vendor,
        tuple(theirs.lines),
        tuple(theirs.sames),
        tuple(theirs.remarks),
        tuple(theirs.steps),
    )


def _kind(document: Document) -> str:
    """Whose file it is, by its keys.

    Raises:
        SpecError: It is nobody's, or might be of two.
    """
    keys = document.value if isinstance(document.value, dict) else {}
    marks = {name: len(foreign.marks & set(keys)) for name, foreign in FOREIGN.items()}
    most = max(marks.values())
    kinds = [name for name, count in marks.items() if count == most]
    if most and len(kinds) == 1:
        return kinds[0]
    names = " or ".join(kinds if most else FOREIGN)
    known = ", ".join(foreign.vendor for foreign in FOREIGN.values())
    what = "its keys do not say whose it is" if most else f"is no job or configuration of {known}"
    raise SpecError([document.problem((), what, f"say it: --kind {names}", "unknown-kind")])
