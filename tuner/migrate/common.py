"""What all vendors' files share: reasons why keys are not needed, and the sections of a spec."""

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

    Fetch: TypeAlias = Callable[[str, str], str]
    """Returns the command that downloads a named data set to a file."""

RECORD = "a record of that job: there is nothing to set"
ADAPTER = "the local service tunes LoRA of rank 8 and alpha 16 on all linear layers"
FULL = (
    "only LoRA is tuned here: it learns and forgets less than tuning all weights, and needs a"
    " learning rate about ten times as high"
)
OPTIMIZER = "the service has its own optimizer, AdamW on this machine, with its own settings"
SCHEDULE = (
    "on this machine the rate rises over the first tenth of the steps and then falls linearly"
)
SEED = "the tuning API has no seed; the same spec is never tuned twice unless --new is given"
TRACKER = "nothing is sent to a tracker; `tuner watch` shows the loss during tuning"
SAVING = "checkpoints are saved during tuning, and it resumes from them by itself"
EVALUATING = "base and tuned model answer the held-out rows once, after tuning"
PRECISION = "the service chooses number formats and kernels"
MANY = "a tuning runs in one process on one machine"
LOADING = "the service decides how data and models are read and stored"
LENGTH = (
    "rows beyond it were cut or left out there; here all are tuned on whole, up to the target's own"
    " limit, and `tuner data check` lists those beyond that"
)
PACKING = "rows are never cut or packed; rows with a common beginning share its computation"
HUB = "nothing is downloaded from or sent to a model hub during a job"
TEMPLATE = "the base model's own chat template is used, in tuning and in inference alike"
LOSS_ON_ALL = "the loss is on the answer alone here, never on the input"
LOSS_ON_OUTPUT = "the loss is on the answer alone"
PREFERENCES = "tuning here learns one answer to an input; pairs, rewards and graders are not used"
LABELS = "labels of your own are not supported; description holds a text"
OPEN_MODEL = (
    "base_model is a small model for a first run; for this one, `tuner serve --base-model NAME=PATH`"
    " and base_model: models/NAME"
)
LORA_HERE = "every tuning here is LoRA"
SUPERVISED_HERE = "every tuning here is supervised"
WHOLE_TEXTS = "whole texts have no input and answer: split them into two columns"
TWO_INPUT_COLUMNS = "one column is the input here: join the two in the file"
FIRST_DATASET = "is taken; training_data.path may be a list: add the others"
NO_SPLITS = "a file has no splits: the split train is downloaded"
EPOCHS_ONLY = "a job ends after its epochs: set epoch_count"
SYSTEM_MESSAGE = "write it as training_data.instruction if the rows have none"

HOLDOUT = 0.1
UNNAMED = "examples.jsonl"
_LOCAL_MODEL = "huggingfacetb/smollm2-135m-instruct"
_FILE = re.compile(r".*\.(jsonl?|ndjson|csv|tsv|parquet|arrow)(\.gz)?", re.IGNORECASE)


class Defaults(NamedTuple):
    """Values that the source's tool uses for keys that are not set, where ours differ."""

    epochs: int | None = None
    rate: float | None = None


NO_DEFAULTS = Defaults()


class FileReference(NamedTuple):
    """A file as the spec names it, with a note about it."""

    path: str
    note: str = ""


def write_name(source: SourceConfig, *origins: KeyPath) -> None:
    """Write ``job``, from the first of ``origins`` that is set, or else from the file's name."""
    for at in origins:
        text = source.text(*at)
        if text:
            source.write("job", names.slug(text.rstrip("/").rpartition("/")[2]), at)
            return
    source.write("job", names.slug(source.document.path.stem))


def write_model(source: SourceConfig, at: KeyPath, why: str) -> None:
    """Write ``target`` and ``base_model``; another model than ours is remarked with ``why``."""
    source.write("target", "local")
    name = source.text(*at)
    if name.lower() == _LOCAL_MODEL:
        source.write("base_model", BASE_MODEL, at)
    else:
        note = f"in place of {name or 'the original model'}"
        source.lines.append(SpecLine("base_model", BASE_MODEL, note))
        source.remark(at, why)


def write_numbers(
    source: SourceConfig,
    epochs: KeyPath,
    batch: KeyPath | None,
    rate: KeyPath | None,
    defaults: Defaults = NO_DEFAULTS,
) -> None:
    """Write the hyperparameters that the tuning API has too, except multipliers."""
    for key, at, value, default in (
        ("epoch_count", epochs, source.whole(*epochs), defaults.epochs),
        ("batch_size", batch, source.whole(*batch) if batch else None, None),
        ("learning_rate", rate, source.number(*rate) if rate else None, defaults.rate),
    ):
        if at and value is not None:
            source.write(f"hyperparameters.{key}", value, at)
        elif at and default is not None and source.get(*at) is None:
            note = "the default there"
            source.lines.append(SpecLine(f"hyperparameters.{key}", default, note))


def write_file(source: SourceConfig, key: str, at: KeyPath, fetch: Fetch) -> None:
    """Write ``training_data.path`` or ``evaluation.path``, from the name at ``at``."""
    found = locate_file(source, source.text(*at), fetch)
    source.write(key, found.path, at, note=found.note)


def locate_file(source: SourceConfig, name: str, fetch: Fetch, folder: str = "") -> FileReference:
    """Find a file of the source; for a missing one add the step that provides it.

    Args:
        source: Receives the step.
        name: A file, relative to the source or to the current folder; or something to download.
        fetch: Returns the download command.
        folder: Where local names begin.
    """
    found = find_file(source, name, folder)
    if found:
        return FileReference(relative_to_spec(source, found))
    if not name or _FILE.fullmatch(name):
        file = source.document.path.parent / folder / name if name else source.spec_folder / UNNAMED
        source.steps.append(f"save the examples as {file}, or change the path in the spec")
        note = "does not exist yet" if name else "the source names no file"
        return FileReference(relative_to_spec(source, file), note)
    saved = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('-.') or 'examples'}.jsonl"
    source.steps.append(fetch(name, os.path.relpath(source.spec_folder / saved)))
    return FileReference(saved, "to be downloaded")


def write_validation_file(source: SourceConfig, at: KeyPath, fetch: Fetch) -> None:
    """Write ``evaluation.path`` from the name at ``at``, or else our usual ``evaluation.holdout``."""
    if source.get(*at):
        write_file(source, "evaluation.path", at, fetch)
    else:
        write_holdout(source)


def write_holdout(source: SourceConfig, *at: str | int) -> None:
    """Write ``evaluation.holdout``, from a share or a number of rows, or else the usual one."""
    size = source.number(*at, zero=True) if at else None
    if size and size < 1:
        source.write("evaluation.holdout", size, at)
    elif size:
        source.write("evaluation.holdout", HOLDOUT, at, note="a share, not a number of rows")
        source.remark(at, "a number of rows there, a share of them here: write the share you want")
    else:
        if at:
            source.keep(at, "no rows were held out there; here a tenth is, unless you change it")
        note = "added: leave evaluation out to tune on every row"
        source.lines.append(SpecLine("evaluation.holdout", HOLDOUT, note))


def write_gate(source: SourceConfig) -> None:
    """Write the gate, which no other tool has, as a comment."""
    above = ("The gate, if you want one: if it fails, the model is not shared.",)
    gate = {"better_than_base": True}
    source.lines.append(SpecLine("evaluation.require", gate, above=above, is_active=False))


def find_file(source: SourceConfig, name: str, folder: str = "") -> Path | None:
    """Find a file relative to the source, or to the current folder, where such tools run."""
    beside = source.document.path.parent
    paths = (beside / folder / name, Path(folder) / name) if name else ()
    return next((path for path in paths if path.is_file()), None)


def relative_to_spec(source: SourceConfig, path: Path) -> str:
    """Return ``path`` as the spec names it."""
    return Path(os.path.relpath(path, source.spec_folder)).as_posix()


def fetch_from_hub(name: str, file: str) -> str:
    """Return the command that saves a data set of the Hugging Face hub."""
    if Path(name).is_absolute() or name.startswith((".", "s3:", "gs:", "az:")):
        return f"copy {name} to {file}"
    code = f"import datasets; datasets.load_dataset('{name}', split='train').to_json('{file}')"
    return f'python -c "{code}"'
