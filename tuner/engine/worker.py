"""The worker process of one tuning task: ``python -m tuner.engine.worker FOLDER``.

It reports on standard output, a line of JSON a step, and ends at the next step when standard input does:
then nobody is left to tune for. Killed at any moment and started again, it goes on from its checkpoint
to the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tuner.engine import (
    EngineError,
    NoRoom,
    checkpoint,
    child_process,
    durable,
    lora,
    models,
    task_folder,
)
from tuner.engine import batches as rows_and_batches
from tuner.engine.base_models import pull
from tuner.engine.chat import open_chat
from tuner.engine.train import TrainingPlan, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from tuner.engine import Step, TuningTask
    from tuner.engine.checkpoint import Progress
    from tuner.engine.models import CausalModel

NICENESS = 10  # answering goes before tuning
LOOK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How the engine wants it done; none of this changes the weights."""

    report: Callable[..., None]
    unwanted: threading.Event
    checkpoint_s: float


def tune(folder: Path, config: WorkerConfig) -> None:
    """Do a task, from its last checkpoint if it has one.

    Raises:
        EngineError: The base model cannot be had, or an example does not fit.
    """
    with contextlib.ExitStack() as held:
        if not _take_over(folder, config.unwanted, held):
            return
        task, base, models_folder = task_folder.read_task(folder)
        model_folder = pull(base, models_folder)
        model_config = json.loads((model_folder / "config.json").read_text("utf-8"))
        own = str(models.best_dtype(model_config)).removeprefix("torch.")
        count, dtype = task_folder.machine(folder, child_process.available_cpus(), own)
        torch.set_deterministic_debug_mode("error")  # the other way loads torch's compiler: 2 s
        torch.manual_seed(task.seed)
        model = models.load(model_folder, getattr(torch, dtype))
        limit = min(model.context, base.input_token_limit or model.context)
        rows = rows_and_batches.rows(task.examples, open_chat(model_folder), limit)
        plan = TrainingPlan(task.epoch_count, task.batch_size, task.learning_rate, task.seed, count)
        start = checkpoint.load_checkpoint(folder) or checkpoint.initial_progress(
            _first(task, model)
        )
        progress = replace(start, adapter=model.trainable(start.adapter))
        _train(folder, config, train(model, rows, plan, progress), progress)


def _take_over(folder: Path, unwanted: threading.Event, held: contextlib.ExitStack) -> bool:
    """Wait until no other worker has the folder. Returns whether we are still wanted then."""
    while not unwanted.is_set():
        if lock := task_folder.try_lock(folder):
            held.enter_context(lock)
            return True
        unwanted.wait(LOOK_AGAIN_S)
    return False


def _train(
    folder: Path,
    config: WorkerConfig,
    steps: Iterator[tuple[Step, Progress]],
    progress: Progress,
) -> None:
    """Do the steps after ``progress``, keep their traces, and leave the adapter in the folder."""
    done = [step for step in task_folder.steps(folder) if step.step <= progress.step]
    for step in done:
        config.report(**asdict(step))
    saved = time.monotonic()
    with task_folder.begin_steps(folder, done) as journal:
        for step, progress in steps:  # noqa: PLR1704  the latest one counts
            _note(step, journal, config)
            wanted = not config.unwanted.is_set()
            if not wanted or time.monotonic() - saved >= config.checkpoint_s:
                os.fsync(journal.fileno())
                checkpoint.save_checkpoint(folder, progress)
                saved = time.monotonic()
            if not wanted:
                return
    lora.write(progress.adapter, folder / task_folder.ADAPTER)
    config.report(done=True)


def _first(task: TuningTask, model: CausalModel) -> lora.Adapter:
    adapter = lora.read(task.parent) if task.parent else model.new_adapter(task.seed)
    model.prepare(adapter)  # says so if a parent does not fit
    return adapter


def _note(step: Step, journal: IO[bytes], config: WorkerConfig) -> None:
    journal.write(child_process.encode(asdict(step)))
    journal.flush()
    config.report(**asdict(step))


def main() -> None:
    """Do the task of the folder on the command line; any failure becomes one line for its user."""
    replies = child_process.Replies()
    os.nice(NICENESS)
    unwanted = threading.Event()
    threading.Thread(target=_listen, args=(unwanted,), daemon=True).start()
    folder, checkpoint_s = Path(sys.argv[1]), float(sys.argv[2])

    def report(**message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # then standard input has ended as well
            replies.send(**message)

    try:
        with durable.needs_room(folder):
            tune(folder, WorkerConfig(report, unwanted, checkpoint_s))
    except NoRoom as error:
        report(error=str(error), is_full=True)
    except EngineError as error:
        report(error=str(error), is_request=error.is_request)
    except Exception as error:  # noqa: BLE001  whatever it is, the user gets a line and the log the rest
        sys.stderr.write(f"{child_process.format_traceback(error)}\n")
        where = f"the rest is in {folder / task_folder.LOG}"
        report(error=f"the worker failed with {type(error).__name__}: {error}; {where}")


def _listen(unwanted: threading.Event) -> None:
    sys.stdin.buffer.read()
    unwanted.set()


if __name__ == "__main__":
    main()
