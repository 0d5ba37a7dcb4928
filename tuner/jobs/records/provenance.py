"""What a tuned model was made of and what came of it, as plain data that can be compared later."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

from tuner.data.sources import files
from tuner.formatting import format_time
from tuner.jobs.outcome import permission_rows
from tuner.yaml_source import without_receivers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tuner.job import Evaluation, Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.jobspec.schema import JobSpec
    from tuner.types import Permission, TunedModel

LOCAL_SEED = 0
"""The API has no seed; the service in the box tunes with this one."""


def described(
    job: Job, work: PreparedJob, model: TunedModel | None, permissions: Sequence[Permission]
) -> dict[str, Any]:
    """The facts of a job that has ended; None stands for what is hidden from us or not known."""
    spec = work.spec
    return {
        "job": job.name,
        "label": job.label,
        "target": job.where,
        "tuned_model": job.tuned_model,
        "content": work.digest,
        "spec": sha256(Path(job.spec)),
        "overrides": without_receivers(job.overrides),
        "data": data_of(spec, Path(job.spec).parent),
        "examples": {"tuned_on": len(work.examples), "held_out": len(work.holdout)},
        "seed": LOCAL_SEED if job.target.kind == "local" else None,
        "versions": {"tuner": version("tuner"), "python": python_version()},
        "results": results(job.evaluation) if job.evaluation else None,
        "allowed": job.allowed,
        "phase": job.phase.value,
        "handed_to": job.handed_to,
        "base_model": spec.base_model,
        "tuned_model_source": spec.tuned_model_source,
        "hyperparameters": None,
        "display_name": None,
        "tuned": None,
        "permissions": access(permissions),
        **(shown(model) if model else {}),
    }


def shown(model: TunedModel) -> dict[str, Any]:
    """What the service tells of a model and can be compared with later."""
    last = model.snapshots[-1] if model.snapshots else None
    return {
        "base_model": model.base_model,
        "tuned_model_source": model.tuned_model_source,
        "hyperparameters": {
            name: value
            for name, value in asdict(model.hyperparameters).items()
            if value is not None
        },
        "display_name": model.display_name,
        "tuned": {
            "create_time": format_time(model.create_time) if model.create_time else None,
            "steps": last.step if last else None,
            "mean_loss": last.mean_loss if last else None,
        },
    }


def access(permissions: Sequence[Permission]) -> list[dict[str, object]] | None:
    """Who may use it, in an order of their own; None when nobody is listed."""
    rows = permission_rows(permissions)
    return sorted(rows, key=lambda row: tuple(map(str, row.values()))) or None


def results(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation's figures by the metric of its gate."""
    metric, interval = evaluation.metric, evaluation.interval
    return {
        "metric": metric,
        "tuned": evaluation.tuned.get(metric),
        "base": evaluation.base.get(metric),
        "interval": [interval.low, interval.high] if interval else None,
        "rows": evaluation.count,
        "digest": evaluation.digest,
    }


def data_of(spec: JobSpec, folder: Path) -> list[dict[str, Any]]:
    """The files of examples, to tune on and to evaluate with, by paths relative to ``folder``."""
    held_out = spec.evaluation.paths if spec.evaluation else ()
    return [
        {"path": os.path.relpath(path, folder), "sha256": sha256(path), "bytes": size(path)}
        for path in files([*spec.training_data.paths, *held_out])
    ]


def sha256(path: Path) -> str | None:
    """Of a file, or of all files of a folder with their names; None when it is not there."""
    try:
        if path.is_dir():
            return _folder(path)
        found = path.stat()
        return _file(path, found.st_size, found.st_mtime_ns)
    except OSError:
        return None


def size(path: Path) -> int | None:
    """Bytes of a file, or of all files of a folder; None when it is not there."""
    try:
        return (
            sum(each.stat().st_size for each in _files(path))
            if path.is_dir()
            else path.stat().st_size
        )
    except OSError:
        return None


def _files(folder: Path) -> Iterable[Path]:
    return sorted(each for each in folder.rglob("*") if each.is_file())


def _folder(folder: Path) -> str:
    whole = hashlib.sha256()
    for each in _files(folder):
        whole.update(f"{each.relative_to(folder).as_posix()}\0{sha256(each)}\n".encode())
    return whole.hexdigest()


@lru_cache(maxsize=1024)
def _file(path: Path, _size: int, _changed_ns: int) -> str:
    """Read once however many jobs of a run are made of it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
