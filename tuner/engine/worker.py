"""The worker process of one tuning task: ``python -m tuner.engine.worker FOLDER CHECKPOINT_S``.

Reports every training step as a line of JSON on standard output. When standard input is closed, it
saves a checkpoint after the current step and exits. After a crash it resumes from its last checkpoint and
ends with the same bytes.
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
    batches,
    checkpoint,
    child_process,
    lora,
    models,
    task_folder,
)
from tuner.engine.base_models import pull
from tuner.engine.chat import open_chat
from tuner.engine.train import TrainingPlan, train
from tuner.files import try_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tuner.engine import Step, TuningTask
    from tuner.engine.checkpoint import Progress
    from tuner.engine.models import CausalModel

NICENESS = 10  # inference has priority over tuning
LOCK_RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How to run a task; nothing here changes the weights.

    Attributes:
        report: Sends a message to the engine.
        stop: Set when the engine no longer wants the result.
        checkpoint_s: Seconds between two checkpoints.
    """

    report: Callable[..., None]
    stop: threading.Event
    checkpoint_s: float


def tune(folder: Path, config: WorkerConfig) -> None:
    """Run the task in ``folder``, from its last checkpoint if it has one.

    Raises:
        EngineError: The base model is not available, or an example is too long.
    """
    with contextlib.ExitStack() as stack:
        if not _acquire_lock(folder, config.stop, stack):
            return
        task, base, models_folder = task_folder.read_task(folder)
        model_folder = pull(base, models_folder)
        model_config = json.loads((model_folder / "config.json").read_text("utf-8"))
        best_dtype = str(models.best_dtype(model_config)).removeprefix("torch.")
        cpus = child_process.available_cpus()
        thread_count, dtype = task_folder.machine(folder, cpus, best_dtype)
        # torch.use_deterministic_algorithms would import torch's compiler, which takes 2 s.
        torch.set_deterministic_debug_mode("error")
        torch.manual_seed(task.seed)
        model = models.load(model_folder, getattr(torch, dtype))
        limit = min(model.context, base.input_token_limit or model.context)
        rows = batches.rows(task.examples, open_chat(model_folder), limit)
        plan = TrainingPlan(
            task.epoch_count, task.batch_size, task.learning_rate, task.seed, thread_count
        )
        progress = checkpoint.load_checkpoint(folder)
        if progress is None:
            progress = checkpoint.initial_progress(_first_adapter(task, model))
        progress = replace(progress, adapter=model.trainable(progress.adapter))
        _run_steps(folder, config, train(model, rows, plan, progress), progress)


def _acquire_lock(folder: Path, stop: threading.Event, stack: contextlib.ExitStack) -> bool:
    """Wait until no other worker uses the folder; return False if stopped before."""
    while not stop.is_set():
        if lock := try_lock(folder / task_folder.LOCK):
            stack.enter_context(lock)
            return True
        stop.wait(LOCK_RETRY_S)
    return False


def _run_steps(
    folder: Path,
    config: WorkerConfig,
    steps: Iterator[tuple[Step, Progress]],
    progress: Progress,
) -> None:
    """Run the steps after ``progress``, record them, and write the finished adapter."""
    done = [step for step in task_folder.steps(folder) if step.step <= progress.step]
    for step in done:
        config.report(**asdict(step))
    saved_at = time.monotonic()
    with task_folder.append_steps(folder, done) as steps_file:
        for step, progress in steps:  # noqa: PLR1704  the last one is written
            steps_file.write(child_process.encode(asdict(step)))
            steps_file.flush()
            config.report(**asdict(step))
            stopped = config.stop.is_set()
            if stopped or time.monotonic() - saved_at >= config.checkpoint_s:
                os.fsync(steps_file.fileno())
                checkpoint.save_checkpoint(folder, progress)
                saved_at = time.monotonic()
            if stopped:
                return
    lora.write(progress.adapter, folder / task_folder.ADAPTER)
    config.report(done=True)


def _first_adapter(task: TuningTask, model: CausalModel) -> lora.Adapter:
    adapter = lora.read(task.parent) if task.parent else model.new_adapter(task.seed)
    model.prepare(adapter)  # raises EngineError if the parent does not fit
    return adapter


def main() -> None:
    """Run the task given on the command line; report any failure as one message."""
    replies = child_process.Replies()
    os.nice(NICENESS)
    stop = threading.Event()
    threading.Thread(target=_wait_for_eof, args=(stop,), daemon=True).start()
    folder, checkpoint_s = Path(sys.argv[1]), float(sys.argv[2])

    def report(**message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # standard input is closed then, too
            replies.send(**message)

    try:
        with task_folder.needs_space(folder):
            tune(folder, WorkerConfig(report, stop, checkpoint_s))
    except NoRoom as error:
        report(error=str(error), is_full=True)
    except EngineError as error:
        report(error=str(error), is_request=error.is_request)
    except Exception as error:  # noqa: BLE001  reported to the user; the traceback goes to the log
        sys.stderr.write(f"{child_process.format_traceback(error)}\n")
        where = f"see {folder / task_folder.LOG}"
        report(error=f"the worker failed with {type(error).__name__}: {error}; {where}")


def _wait_for_eof(stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    stop.set()


if __name__ == "__main__":
    main()
