"""Tune, evaluate, share and transfer models from a job spec.

    import tuner

    outcome = tuner.run("configs/quickstart.yaml")
    print(outcome.job.phase, outcome.job.evaluation)

Importing this module is fast; functions import what they need when called. ``tuner.aio`` has the same
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
    """Run a job like ``tuner run SPEC``, without printing.

    Calling it again with the same arguments continues the job; nothing is tuned twice. Works in
    notebooks, where an interrupt stops watching and the tuning continues.

    Args:
        spec: Path of a job spec, or a dict with the same keys.
        overrides: Like ``--set``: ``hyperparameters.epoch_count=3``.
        examples: Used instead of ``training_data.path``: a DataFrame with the columns named in
            ``training_data``, or a sequence of Examples or (input, output) pairs. Checked and held out
            like rows of a file.
        force_share: Share and transfer even if the gate is not met; this is recorded.

    Returns:
        The finished job and its permissions on the service. A job that failed, was cancelled or did not
        meet its gate is returned, too; ``outcome.failure`` has the reason.

    Raises:
        InvalidInput: All errors in the spec and its data; nothing was sent.
        NotAllowed, Unavailable, RequestRefused, NotFinished: The run stopped; calling it again continues.
    """
    from tuner import aio

    return aio.run_to_end(lambda: aio.run(spec, overrides, examples, force_share=force_share))


def submit(
    spec: Spec, overrides: Sequence[str] = (), examples: InMemoryExamples | None = None
) -> Job:
    """Submit a job like ``tuner submit SPEC``, and do not wait for it.

    ``tuner.run`` with the same arguments continues the job. Takes the arguments of ``run``.

    Returns:
        The job; ``tuner.status(job.tuned_model)`` shows its state.

    Raises:
        InvalidInput, NotAllowed, Unavailable, RequestRefused: As in ``run``.
    """
    from tuner import aio

    return aio.run_to_end(lambda: aio.submit(spec, overrides, examples))


def status(*names: str) -> list[Job]:
    """Return jobs from the local store, like ``tuner status``; no service is called.

    Args:
        names: Names of jobs or tuned models; default: all jobs.

    Returns:
        The jobs, latest first; unknown names are ignored.

    Raises:
        TunerError: The store cannot be read.
    """
    from tuner.jobs.store import open_store

    with open_store() as store:
        return [bookmark.job for bookmark in store.jobs(*names)]


def plan(
    *specs: str | Path | PreparedJob, target: str | TargetConfig | None = None
) -> list[PlanItem]:
    """Plan jobs like ``tuner plan SPEC...``: what a run would do for each, and why.

    Args:
        specs: Files of jobs and pipelines, folders of them, or results of ``validate``.
        target: Target to use instead of that of the files: ``"gemini"``, or a ``TargetConfig``.

    Returns:
        One item per job and stage, in order. Items of an unreachable target have an ``error``.

    Raises:
        InvalidInput: All errors in the specs and their data.
    """
    from tuner import aio

    return aio.run_to_end(lambda: aio.plan(*specs, target=target))


def run_pipeline(
    path: str | Path, overrides: Sequence[str] = (), *, force_share: bool = False
) -> PipelineOutcome:
    """Run a pipeline like ``tuner run PIPELINE``, without printing.

    Calling it again continues the pipeline.

    Args:
        path: The pipeline's file.
        overrides: Like ``--set`` for that file: ``max_parallel=4``.
        force_share: Share and transfer even if gates are not met; this is recorded.

    Returns:
        The finished stages; ``failure`` is the first failure, or None.

    Raises:
        InvalidInput: All errors in the pipeline, its specs and data.
        TunerError: The store or a target cannot be used.
    """
    from tuner import aio

    return aio.run_to_end(lambda: aio.run_pipeline(path, overrides, force_share=force_share))


def validate(
    spec: Spec, overrides: Sequence[str] = (), examples: InMemoryExamples | None = None
) -> PreparedJob:
    """Load and check a spec with its data, like ``tuner validate``.

    Takes the arguments of ``run``.

    Raises:
        InvalidInput: All errors.
    """
    from pathlib import Path

    from tuner.jobspec.prepared_job import prepare_job
    from tuner.tokens import extra_checks

    given = Path(spec) if isinstance(spec, str | Path) else spec
    return prepare_job(given, overrides, examples, extra_checks())


def __getattr__(name: str) -> Any:
    """Import ``tuner.aio`` and ``tuner.data`` on first use."""
    if name not in ("aio", "data"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module(f"tuner.{name}")
