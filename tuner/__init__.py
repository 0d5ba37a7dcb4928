"""Tune, evaluate, share and hand over models from a job spec.

    import tuner

    outcome = tuner.run("configs/quickstart.yaml")
    print(outcome.job.phase, outcome.job.evaluation)

Importing this is free; what a function needs is loaded when it is called. ``tuner.aio`` has the same
functions as coroutines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from tuner import aio as aio
    from tuner import data as data
    from tuner.data.frame import InMemoryExamples
    from tuner.job import Job
    from tuner.jobs.outcome import Outcome
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.model import PipelineOutcome
    from tuner.pipelines.plan import PlanItem
    from tuner.types import TargetConfig

    Spec = str | Path | Mapping[str, Any]

__all__ = [
    "__version__",
    "aio",
    "data",
    "plan",
    "run",
    "run_pipeline",
    "status",
    "submit",
    "validate",
]
__version__ = "0.1.0"


def run(
    spec: Spec,
    overrides: Sequence[str] = (),
    examples: InMemoryExamples | None = None,
    *,
    force_share: bool = False,
) -> Outcome:
    """Do what ``tuner run SPEC`` does, without printing, and return what came of it.

    Calling it again with the same goes on from where it stopped: nothing is tuned twice. It may
    be called in a notebook; to stop it there stops watching, the tuning goes on.

    Args:
        spec: A job spec's file, or a dict with the same keys.
        overrides: As ``--set``: ``hyperparameters.epoch_count=3``.
        examples: In place of ``training_data.path``: a DataFrame, with the columns that
            ``training_data`` names, or a sequence of Examples or (input, output) pairs. Checked
            and held out as a file's rows are.
        force_share: Share and transfer although the gate is not met; that is recorded.

    Returns:
        The job at its end, with the permissions as the service lists them. A job that failed, was
        cancelled or did not pass its gate is returned too: ``outcome.failure`` says why.

    Raises:
        InvalidInput: Everything that is wrong with the spec and its data; nothing was sent.
        NotAllowed, Unavailable, RequestRefused, NotFinished: What stopped us; calling it again goes
            on from there.
    """
    from tuner import aio

    return aio.run_to_end(lambda: aio.run(spec, overrides, examples, force_share=force_share))


def submit(
    spec: Spec, overrides: Sequence[str] = (), examples: InMemoryExamples | None = None
) -> Job:
    """Do what ``tuner submit SPEC`` does: send the tuning, and do not wait for it.

    ``tuner.run`` with the same goes on from there. Args are those of ``run``.

    Returns:
        The job, to be looked for with ``tuner.status(job.tuned_model)``.

    Raises:
        InvalidInput, NotAllowed, Unavailable, RequestRefused: As ``run``.
    """
    from tuner import aio

    return aio.run_to_end(lambda: aio.submit(spec, overrides, examples))


def status(*names: str) -> list[Job]:
    """Do what ``tuner status`` does: where jobs stand, as the ledger knows; no service is asked.

    Args:
        names: Of jobs or tuned models; without one, all jobs.

    Returns:
        The latest first; of a name that the ledger does not know, nothing.

    Raises:
        TunerError: The ledger cannot be read.
    """
    from tuner.jobs.store import open_store

    with open_store() as ledger:
        return [bookmark.job for bookmark in ledger.jobs(*names)]


def plan(
    *specs: str | Path | PreparedJob, target: str | TargetConfig | None = None
) -> list[PlanItem]:
    """Do what ``tuner plan SPEC...`` does: say what a run would do about each job, and why.

    Args:
        specs: Files of jobs and pipelines, folders of them, or what ``validate`` returned.
        target: Where files are to run, in place of what they say: ``"gemini"``, or more in a
            ``TargetConfig``.

    Returns:
        An item a job and a stage, in order. A target that cannot be asked makes items whose
        ``error`` says why.

    Raises:
        InvalidInput: Everything that is wrong with the specs and their data.
    """
    from tuner import aio

    return aio.run_to_end(lambda: aio.plan(*specs, target=target))


def run_pipeline(
    path: str | Path, overrides: Sequence[str] = (), *, force_share: bool = False
) -> PipelineOutcome:
    """Do what ``tuner run PIPELINE`` does, without printing, and return what came of it.

    Calling it again goes on from where it stopped.

    Args:
        path: The pipeline's file.
        overrides: As ``--set``, over that file: ``max_parallel=4``.
        force_share: Share and transfer although gates are not met; that is recorded.

    Returns:
        Its stages at their ends; ``failure`` says what went wrong first of all, None for nothing.

    Raises:
        InvalidInput: Everything that is wrong with the pipeline, its specs and data.
        TunerError: The ledger cannot be used, or a target cannot be asked at all.
    """
    from tuner import aio

    return aio.run_to_end(lambda: aio.run_pipeline(path, overrides, force_share=force_share))


def validate(
    spec: Spec, overrides: Sequence[str] = (), examples: InMemoryExamples | None = None
) -> PreparedJob:
    """Read and check a spec with its data; what ``tuner validate`` does.

    Args are those of ``run``.

    Raises:
        InvalidInput: Everything that is wrong with them.
    """
    from pathlib import Path

    from tuner.jobspec.prepared_job import prepare_job
    from tuner.tokens import extra_checks

    given = Path(spec) if isinstance(spec, str | Path) else spec
    return prepare_job(given, overrides, examples, extra_checks())


def __getattr__(name: str) -> Any:
    """``tuner.aio`` and ``tuner.data``, once they are asked for."""
    if name not in ("aio", "data"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module(f"tuner.{name}")
