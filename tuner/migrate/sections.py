"""Sections of a spec that all vendors fill, and the reasons why keys have no equivalent."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tuner import names
from tuner.jobspec.scaffold import BASE_MODEL, SpecLine

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from tuner.migrate.source import SourceConfig
    from tuner.yaml_source import KeyPath

    DownloadCommand: TypeAlias = Callable[[str, str], str]
    """Returns the command that downloads a named data set to a file."""

RECORD = "a record of that job: there is nothing to set"
ADAPTER = "the local service tunes LoRA of rank 8 and alpha 16 on all linear layers"
FULL = (
    "only LoRA is tuned here: it learns and forgets less than tuning all weights, and needs about"
    " ten times the learning rate"
)
OPTIMIZER = "the service has its own optimizer and settings; the local service uses AdamW"
SCHEDULE = (
    "the local service raises the rate in the first tenth of the steps, then lowers it linearly"
)
SEED = "the tuning API has no seed; the same spec is not tuned twice without --new"
TRACKER = "nothing is sent to a tracker; `tuner watch` shows the loss during tuning"
SAVING = "checkpoints are saved during tuning, and it resumes from them automatically"
EVALUATING = "base and tuned model answer the held-out rows once, after tuning"
PRECISION = "the service chooses number formats and kernels"
DISTRIBUTED = "a tuning runs in one process on one machine"
LOADING = "the service decides how data and models are read and stored"
LENGTH = (
    "longer rows were cut or left out there; here all rows are used whole, up to the target's limit,"
    " and `tuner data check` lists longer ones"
)
PACKING = "rows are never cut or packed; the computation of a common beginning is shared"
HUB = "nothing is downloaded from or uploaded to a model hub during a job"
TEMPLATE = "the base model's own chat template is used for tuning and inference"
LOSS_ON_ALL = "the loss is on the answer alone here, never on the input"
LOSS_ON_OUTPUT = "the loss is on the answer alone"
PREFERENCES = "tuning uses one answer per input; pairs, rewards and graders are not used"
LABELS = "user-defined labels are not supported; description holds a text"
OPEN_MODEL = (
    "base_model is a small model for a first run; for this one, `tuner serve --base-model NAME=PATH`"
    " and base_model: models/NAME"
)
LORA_HERE = "every tuning is LoRA"
SUPERVISED_HERE = "every tuning is supervised"
WHOLE_TEXTS = "these texts have no input and answer: split them into two columns"
TWO_INPUT_COLUMNS = "only one input column is possible: join the two in the file"
FIRST_DATASET = "is used; training_data.path may be a list: add the others"
NO_SPLITS = "files have no splits: the split train is downloaded"
EPOCHS_ONLY = "a job ends after its epochs: set epoch_count"
SYSTEM_MESSAGE = "write it as training_data.instruction if the rows have none"
ONE_EVALUATION_FILE = "a spec evaluates with one file"

HOLDOUT = 0.1
UNNAMED = "examples.jsonl"
_LOCAL_MODEL = "huggingfacetb/smollm2-135m-instruct"
_FILE = re.compile(r".*\.(jsonl?|ndjson|csv|tsv|parquet|arrow)(\.gz)?", re.IGNORECASE)


class FileReference(NamedTuple):
    """A file as the spec names it, with a note about it."""

    path: str
    note: str = ""


def write_name(source: SourceConfig, *origins: KeyPath) -> None:
    """Write ``job``, from the first of ``origins`` that is set, or else from the file's name."""
    for at in origins:
        if text := source.text(*at):
            source.write("job", names.slug(text.rstrip("/").rpartition("/")[2]), at)
            return
    source.write("job", names.slug(source.document.path.stem))


def write_model(source: SourceConfig, at: KeyPath, why: str) -> None:
    """Write ``target`` and ``base_model``; for a model other than ours, add a remark with ``why``."""
    source.write("target", "local")
    name = source.text(*at)
    if name.lower() == _LOCAL_MODEL:
        source.write("base_model", BASE_MODEL, at)
    else:
        source.write("base_model", BASE_MODEL, note=f"instead of {name or 'the original model'}")
        source.remark(at, why)


def write_number(
    source: SourceConfig,
    key: str,
    at: KeyPath,
    default: float | None = None,
    *,
    whole: bool = False,
) -> None:
    """Write a hyperparameter; ``default`` is the vendor's for a missing key, where ours differs."""
    value = source.whole(*at) if whole else source.number(*at)
    if value is not None:
        source.write(f"hyperparameters.{key}", value, at)
    elif default is not None and source.get(*at) is None:
        source.write(f"hyperparameters.{key}", default, note="the default there")


def write_batch_size(source: SourceConfig, micro_batch: str, default: int | None = None) -> None:
    """Write ``batch_size``, a product of two keys; the vendor's file does not give the number of GPUs."""
    origins = ((micro_batch,), ("gradient_accumulation_steps",))
    micro, steps = (source.whole(*at) for at in origins)
    if micro is None and steps is None and default is None:
        return
    note = "their product, on one GPU"
    if micro is None and default is not None:
        note = f"on one GPU, with {default} by default"
    size = (micro or default or 1) * (steps or 1)
    source.write("hyperparameters.batch_size", size, *origins, note=note)


def write_file(source: SourceConfig, key: str, at: KeyPath, command: DownloadCommand) -> None:
    """Write ``training_data.path`` or ``evaluation.path``, from the name at ``at``."""
    found = locate_file(source, source.text(*at), command)
    source.write(key, found.path, at, note=found.note)


def locate_file(source: SourceConfig, name: str, command: DownloadCommand) -> FileReference:
    """Find a file of the source; for a missing one add the step that saves or downloads it."""
    found = source.find_file(name)
    if found:
        return FileReference(source.relative_to_spec(found))
    if not name or _FILE.fullmatch(name):
        file = source.document.path.parent / name if name else source.spec_folder / UNNAMED
        source.steps.append(f"save the examples as {file}, or change the path in the spec")
        note = "does not exist yet" if name else "the source names no file"
        return FileReference(source.relative_to_spec(file), note)
    saved = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('-.') or 'examples'}.jsonl"
    source.steps.append(command(name, os.path.relpath(source.spec_folder / saved)))
    return FileReference(saved, "to be downloaded")


def write_holdout(source: SourceConfig, *at: str | int) -> None:
    """Write ``evaluation.holdout``, from a share or a number of rows at ``at``, or else a tenth."""
    size = source.number(*at, zero=True) if at else None
    if size and size < 1:
        source.write("evaluation.holdout", size, at)
    elif size:
        source.write("evaluation.holdout", HOLDOUT, at, note="a share, not a number of rows")
        source.remark(at, "a number of rows there, a share of the rows here: write the share")
    else:
        if at:
            source.keep(at, "no rows were held out there; here a tenth is, unless you change it")
        note = "added: leave evaluation out to tune on every row"
        source.write("evaluation.holdout", HOLDOUT, note=note)


def write_gate(source: SourceConfig) -> None:
    """Write the gate, which no other tool has, as a comment."""
    above = ("The gate, if you want one: if it is not met, the model is not shared.",)
    gate = {"better_than_base": True}
    source.lines.append(SpecLine("evaluation.require", gate, above=above, is_active=False))


def hub_command(name: str, file: str) -> str:
    """Return the command that saves a data set of the Hugging Face hub."""
    if Path(name).is_absolute() or name.startswith((".", "s3:", "gs:", "az:")):
        return f"copy {name} to {file}"
    code = f"import datasets; datasets.load_dataset('{name}', split='train').to_json('{file}')"
    return f'python -c "{code}"'
