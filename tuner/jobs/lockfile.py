"""tuner.lock: a file beside the specs that records what each job was made of and its result."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import sys
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.data.dataset import files
from tuner.errors import NotAllowed, Problem, RequestRefused, SpecError, TunerError
from tuner.events.events import Event, EventKind
from tuner.files import write_atomic
from tuner.formatting import format_time
from tuner.jobs.outcome import permission_rows
from tuner.jobspec.files import is_pipeline
from tuner.types import Phase
from tuner.yaml_source import without_receivers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from tuner.events.events import EventHandler
    from tuner.job import Evaluation, Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.types import Permission, TunedModel

    Entry = Mapping[str, Any]

NAME = "tuner.lock"
VERSION = 1
LOCAL_SEED = 0
"""The API has no seed; the local service tunes with this one."""
_LOCKED_PHASES = frozenset({Phase.DONE, Phase.REJECTED, Phase.NOT_SELECTED})


async def lock_job(
    job: Job,
    work: PreparedJob,
    read_model: Callable[[Job], Awaitable[TunedModel]],
    permissions: Sequence[Permission],
    emit: EventHandler,
) -> None:
    """Write the entry of a finished job, as the service shows it; emit NOT_LOCKED on failure.

    A job started from Python has no entry.
    """
    if not _has_entry(job):
        return
    try:
        try:
            model = await read_model(job)
        except (NotAllowed, RequestRefused):  # it may be hidden after its transfer
            model = None
        write(job, work, model, permissions)
    except TunerError as error:
        emit(Event(EventKind.NOT_LOCKED, job, why=error.what))


def _has_entry(job: Job) -> bool:
    return job.phase in _LOCKED_PHASES and job.is_on_disk and Path(job.spec).is_file()


def write(
    job: Job, work: PreparedJob, model: TunedModel | None, permissions: Sequence[Permission]
) -> None:
    """Write the entry of a finished job; the same job gives the same bytes.

    Args:
        job: In an end phase.
        work: What was sent.
        model: As the service shows it; None if it is hidden, then the facts of an earlier entry of
            the same model are kept.
        permissions: As the service lists them; empty if they are hidden.

    Raises:
        TunerError: The file is damaged, or cannot be read or written.
    """
    new = describe(job, work, model, permissions)
    old = entry(Path(job.spec), stage_of(job)) or {}
    if (old.get("tuned_model"), old.get("content")) == (new["tuned_model"], new["content"]):
        new = {key: old.get(key) if value is None else value for key, value in new.items()}
    put(Path(job.spec), stage_of(job), new)


def stage_of(job: Job) -> str:
    """Return the second part of a job's key: its title in a pipeline, else label or ``--set`` values."""
    if is_pipeline(Path(job.spec)):
        return job.title
    return job.label or " ".join(without_receivers(job.overrides))


def entry(spec: Path, stage: str = "") -> dict[str, Any] | None:
    """Return the entry of a spec or pipeline file; None if there is none.

    Raises:
        TunerError: The file is damaged, or cannot be read.
    """
    return entries(spec.parent / NAME).get(_key(spec, stage))


def entries(path: Path) -> dict[str, dict[str, Any]]:
    """Return all entries of a ``tuner.lock`` by key; empty if the file is missing.

    Raises:
        TunerError: The file is damaged, or cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TunerError(f"{path} cannot be read: {error.strerror}", "make it readable") from error
    fix = "restore it from version control, or remove it: the next `tuner run` writes a new one"
    try:
        document = json.loads(data)
    except ValueError as error:
        line = getattr(error, "lineno", 0)
        raise SpecError([Problem(str(path), line, 0, "this is not JSON", fix)]) from error
    jobs = document.get("jobs") if isinstance(document, dict) else None
    if not isinstance(jobs, dict) or not all(isinstance(each, dict) for each in jobs.values()):
        raise SpecError([Problem(str(path), 0, 0, "it has no object `jobs` of entries", fix)])
    if document.get("version") != VERSION:
        what = f"it has version {document.get('version')}, this tuner reads version {VERSION}"
        raise SpecError([Problem(str(path), 0, 0, what, "upgrade tuner")])
    return jobs


def put(spec: Path, stage: str, new: Entry) -> None:
    """Write an entry to disk, atomically; other processes may write at the same time.

    Raises:
        TunerError: The file is damaged, or cannot be read or written.
    """
    path = spec.parent / NAME
    try:
        with _locked_folder(spec.parent):
            known = entries(path)
            jobs = known | {_key(spec, stage): json.loads(json.dumps(new))}
            if jobs != known:
                document = {
                    "version": VERSION,
                    "jobs": json.loads(json.dumps(jobs, sort_keys=True)),
                }
                text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
                write_atomic(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise TunerError(
            f"{path} cannot be written: {error.strerror}", "make its folder writable"
        ) from error


def _key(spec: Path, stage: str) -> str:
    return f"{spec.name}#{stage}" if stage else spec.name


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def describe(
    job: Job, work: PreparedJob, model: TunedModel | None, permissions: Sequence[Permission]
) -> dict[str, Any]:
    """Return the facts of a finished job; None for what is hidden or unknown."""
    spec, folder = work.spec, Path(job.spec).parent
    held_out = spec.evaluation.paths if spec.evaluation else ()
    data = files([*spec.training_data.paths, *held_out])
    return {
        "job": job.name,
        "label": job.label,
        "target": job.where,
        "tuned_model": job.tuned_model,
        "content": work.digest,
        "spec": sha256(Path(job.spec)),
        "overrides": without_receivers(job.overrides),
        "data": [
            {"path": os.path.relpath(path, folder), "sha256": sha256(path), "bytes": _size(path)}
            for path in data
        ],
        "examples": {"tuned_on": len(work.examples), "held_out": len(work.holdout)},
        "seed": LOCAL_SEED if job.target.kind == "local" else None,
        "versions": {
            "tuner": sys.modules["tuner"].__version__,
            "python": platform.python_version(),
        },
        "results": _results(job.evaluation) if job.evaluation else None,
        "allowed": job.allowed,
        "phase": job.phase.value,
        "handed_to": job.handed_to,
        "base_model": spec.base_model,
        "tuned_model_source": spec.tuned_model_source,
        "hyperparameters": None,
        "display_name": None,
        "tuned": None,
        "permissions": permission_facts(permissions),
        **(model_facts(model) if model else {}),
    }


def model_facts(model: TunedModel) -> dict[str, Any]:
    """Return the facts of a model that the service shows and `tuner verify` compares."""
    last = model.snapshots[-1] if model.snapshots else None
    hyperparameters = asdict(model.hyperparameters).items()
    return {
        "base_model": model.base_model,
        "tuned_model_source": model.tuned_model_source,
        "hyperparameters": {name: value for name, value in hyperparameters if value is not None},
        "display_name": model.display_name,
        "tuned": {
            "create_time": format_time(model.create_time) if model.create_time else None,
            "steps": last.step if last else None,
            "mean_loss": last.mean_loss if last else None,
        },
    }


def permission_facts(permissions: Sequence[Permission]) -> list[dict[str, object]] | None:
    """Return who may use a model, in a fixed order; None if nobody is listed."""
    rows = permission_rows(permissions)
    return sorted(rows, key=lambda row: tuple(map(str, row.values()))) or None


def _results(evaluation: Evaluation) -> dict[str, Any]:
    metric, interval = evaluation.metric, evaluation.interval
    return {
        "metric": metric,
        "tuned": evaluation.tuned.get(metric),
        "base": evaluation.base.get(metric),
        "interval": [interval.low, interval.high] if interval else None,
        "rows": evaluation.count,
        "digest": evaluation.digest,
    }


def sha256(path: Path) -> str | None:
    """Return the digest of a file, or of a folder with its file names; None if it is missing."""
    try:
        if path.is_dir():
            lines = (
                f"{each.relative_to(path).as_posix()}\0{sha256(each)}\n" for each in _files(path)
            )
            return hashlib.sha256("".join(lines).encode()).hexdigest()
        found = path.stat()
        return _file_sha256(path, found.st_size, found.st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=1024)
def _file_sha256(path: Path, _bytes: int, _changed_ns: int) -> str:
    """Hash a file once for all jobs of a run that use it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int | None:
    try:
        return (
            sum(each.stat().st_size for each in _files(path))
            if path.is_dir()
            else path.stat().st_size
        )
    except OSError:
        return None


def _files(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.is_file())
