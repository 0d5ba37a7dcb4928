"""The folder of one tuning task: its input, progress and result.

task.json                everything that determines the weights; the texts are in examples.jsonl
machine.json             thread count and dtype of the first start: other values give other bits
steps.jsonl              one line per training step, possibly newer than the checkpoint
checkpoint.safetensors   the state to resume from after a crash
adapter/                 the result in PEFT's format; it exists only when complete
lock                     held by the worker while it runs
worker.log               standard error of the worker
"""

from __future__ import annotations

import errno
import hashlib
import json
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.engine import EngineError, NoRoom, Step, TuningTask, child_process
from tuner.files import write_atomic
from tuner.types import Example

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO

    from tuner.engine import BaseModel

TASK = "task.json"
EXAMPLES = "examples.jsonl"
STEPS = "steps.jsonl"
LOG = "worker.log"
ADAPTER = "adapter"
LOCK = "lock"
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
LOCATION_KEYS = ("base_model", "models_folder")  # where files are does not determine the weights


def write_task(folder: Path, task: TuningTask, model: BaseModel, models_folder: Path) -> None:
    """Write the task into its folder, or check that the folder holds the same task.

    Raises:
        EngineError: The folder holds another task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    examples = b"".join(child_process.encode(example._asdict()) for example in task.examples)
    about = {
        "name": task.base_model,
        "epoch_count": task.epoch_count,
        "batch_size": task.batch_size,
        "learning_rate": task.learning_rate,
        "seed": task.seed,
        "parent": task.parent and str(task.parent),
        "examples_sha256": hashlib.sha256(examples).hexdigest(),
        "base_model": asdict(model),
        "models_folder": str(models_folder),
    }
    if (folder / TASK).exists() and _identity(_json(folder / TASK)) != _identity(about):
        raise EngineError(f"{folder} holds another tuning task; give each task its own folder")
    write_atomic(folder / EXAMPLES, examples)
    write_atomic(folder / TASK, json.dumps(about, indent=2).encode())


def read_task(folder: Path) -> tuple[TuningTask, BaseModel, Path]:
    """Return the task, its base model, and the folder of converted models."""
    about = _json(folder / TASK)
    with (folder / EXAMPLES).open("rb") as lines:
        examples = tuple(Example(**child_process.decode(line)) for line in lines)
    task = TuningTask(
        about["name"],
        examples,
        about["epoch_count"],
        about["batch_size"],
        about["learning_rate"],
        about["seed"],
        about["parent"] and Path(about["parent"]),
    )
    base_model = child_process.base_model_from(about["base_model"])
    return task, base_model, Path(about["models_folder"])


def machine(folder: Path, threads: int, dtype: str) -> tuple[int, str]:
    """Return the thread count and dtype of the task's first start; record these if it is the first."""
    file = folder / "machine.json"
    if not file.exists():
        write_atomic(file, json.dumps({"threads": threads, "dtype": dtype}).encode())
    about = _json(file)
    return about["threads"], about["dtype"]


def steps(folder: Path) -> Iterator[Step]:
    """Yield the recorded steps; a line cut short by a crash is ignored."""
    if not (folder / STEPS).exists():
        return
    for line in (folder / STEPS).read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield Step(**child_process.decode(line))


def append_steps(folder: Path, done: Sequence[Step]) -> IO[bytes]:
    """Open the file of steps after ``done``; later steps, whose work was lost, are removed."""
    lines = b"".join(child_process.encode(asdict(step)) for step in done)
    write_atomic(folder / STEPS, lines)
    return (folder / STEPS).open("ab")


@contextmanager
def needs_space(folder: Path) -> Iterator[None]:
    """Raise NoRoom if the disk becomes full inside the block."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise NoRoom(f"there is no space left on the disk of {folder}") from error
        raise


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def _identity(about: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in about.items() if key not in LOCATION_KEYS}
