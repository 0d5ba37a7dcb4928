"""Jobs of the ledger and their files, read again: each alone, or with the pipeline it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.job import Job
    from tuner.pipelines.spec import Pipeline

    Files = dict[tuple[str, tuple[str, ...]], None]


def parted(jobs: Sequence[Job]) -> tuple[list[Job], Files]:
    """Jobs of their own, and the pipeline files, with their overrides, of the others.

    A job of a pipeline cannot go on alone: whether it is shared is decided among all of them.
    """
    from tuner.jobspec.files import is_pipeline

    of_pipelines = [job for job in jobs if is_pipeline(Path(job.spec))]
    files = {(job.spec, job.overrides): None for job in of_pipelines}
    return [job for job in jobs if job not in of_pipelines], files


def pipelines_of(files: Iterable[tuple[str, tuple[str, ...]]]) -> list[Pipeline]:
    """The pipelines of these files.

    Raises:
        InvalidInput: What is wrong with one of them.
    """
    from tuner.pipelines.spec import load_pipeline

    return [load_pipeline(Path(spec), overrides) for spec, overrides in files]
