"""The folder of one tuning task: what is to be done, how far it is, and what came out.

task.json                everything that decides the weights; examples.jsonl holds the texts
machine.json             threads and dtype of the first start: another number gives other bits
steps.jsonl              a line a step, whose checkpoint may not be written yet
checkpoint.safetensors   where to go on after a crash
adapter/                 the result, in PEFT's format; there when it is whole
lock                     held by the worker for its life
worker.log               what the worker had to say
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.engine import EngineError, Step, TuningTask, child_process, durable
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
PLACES = ("base_model", "models_folder")  # where the model is on this machine decides no weights


def write_task(folder: Path, task: TuningTask, model: BaseModel, models_folder: Path) -> None:
    """Put the task in the folder, or find the same one there.

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
    if (folder / TASK).exists() and _decisive(_json(folder / TASK)) != _decisive(about):
        raise EngineError(f"{folder} holds another tuning task; give each task its own folder")
    durable.write(folder / EXAMPLES, examples)
    durable.write(folder / TASK, json.dumps(about, indent=2).encode())


def read_task(folder: Path) -> tuple[TuningTask, BaseModel, Path]:
    """The task, its base model, and the folder of converted models."""
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
    return task, child_process.base_model_from(about["base_model"]), Path(about["models_folder"])


def machine(folder: Path, threads: int, dtype: str) -> tuple[int, str]:
    """The number of threads and the dtype this task began with; these, if it begins now."""
    file = folder / "machine.json"
    if not file.exists():
        durable.write(file, json.dumps({"threads": threads, "dtype": dtype}).encode())
    about = _json(file)
    return about["threads"], about["dtype"]


def steps(folder: Path) -> Iterator[Step]:
    """The steps reported so far; a line cut short by a crash is left out."""
    if not (folder / STEPS).exists():
        return
    for line in (folder / STEPS).read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield Step(**child_process.decode(line))


def begin_steps(folder: Path, done: Sequence[Step]) -> IO[bytes]:
    """A file that goes on after these steps; later ones, whose work was lost, are dropped."""
    durable.write(folder / STEPS, b"".join(child_process.encode(asdict(step)) for step in done))
    return (folder / STEPS).open("ab")


def try_lock(folder: Path) -> IO[str] | None:
    """The lock, held until its file is closed or the process dies; None while another has it."""
    file = (folder / "lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def _decisive(about: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in about.items() if key not in PLACES}
