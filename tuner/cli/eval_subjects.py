"""Resolve the models that `tuner eval` and `tuner compare` name: a stored job, a spec, or any model."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from tuner import names
from tuner.errors import InvalidInput, NotAllowed, NotFound, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.job import Job
    from tuner.jobs.store import Store
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.pipelines.load import LoadedJob


class Subject(NamedTuple):
    """A model and the job whose held-out rows it is evaluated on; the job may not be stored."""

    job: Job
    work: PreparedJob


def find_subject(name: str, data: str | None, store: Store, overrides: Sequence[str]) -> Subject:
    """Resolve ``name``, with the held-out rows of the spec ``data``, or else of its own spec.

    Raises:
        InvalidInput: The spec is invalid or holds out no rows, or a model is given without ``data``.
        TunerError: The job was started from Python without a spec file.
    """
    loaded = _load_one(name, overrides) if _is_spec(name) else None
    rows_from = _load_one(data, overrides).work if data else None
    job = _job_of(loaded, store) if loaded else _stored_job(name, store)
    if rows_from:
        job = job or _unstored_job(name, rows_from)
    elif job is None:
        what = f"there is no job {name!r} in the local store"
        fix = "`tuner status` lists the jobs; for any other model add --data SPEC"
        raise InvalidInput([Problem("", 0, 0, what, fix)])
    work = rows_from or (loaded.work if loaded else _work_of(job, overrides))
    if not work.holdout:
        fix = "add evaluation.holdout: 0.1 or evaluation.path, or name another spec with --data"
        raise InvalidInput([Problem(str(work.spec.path), 0, 0, "no rows are held out", fix)])
    return Subject(job, work)


def find_job(name: str, work: PreparedJob, store: Store) -> Job:
    """Resolve a further model, to be evaluated on the rows of ``work``."""
    if _is_spec(name):
        return _job_of(_load_one(name, ()), store)
    return _stored_job(name, store) or _unstored_job(name, work)


@contextmanager
def suggest_run(job: Job, store: Store) -> Iterator[None]:
    """Add the fix `tuner run` to errors about a model that no known run has created."""
    try:
        yield
    except (NotAllowed, NotFound) as error:
        if not job.spec or store.find(job.where, job.tuned_model):
            raise
        raise type(error)(error.what, f"`tuner run {quote(job.spec)}` tunes it") from error


def _is_spec(name: str) -> bool:
    return Path(name).suffix in (".yaml", ".yml") or Path(name).is_file()


def _stored_job(name: str, store: Store) -> Job | None:
    from tuner.cli.job_runs import UnknownJob, stored_jobs

    try:
        return stored_jobs(store, [name])[0]
    except UnknownJob:
        if store.jobs(name):  # several jobs have this name
            raise
        return None


def _unstored_job(name: str, work: PreparedJob) -> Job:
    """Return a job for any model on the target of ``work``, also a base model."""
    from tuner.job import Job

    return Job(name, work.spec.target, names.model(name), content="", spec="")


def _job_of(loaded: LoadedJob, store: Store) -> Job:
    from tuner.jobs.runner import find_or_create_job

    return replace(find_or_create_job(loaded.work, store), name=loaded.title, label="")


def _work_of(job: Job, overrides: Sequence[str]) -> PreparedJob:
    """Load the spec of a stored job, or its stage of a pipeline."""
    from tuner.cli.run import on_disk
    from tuner.pipelines.load import load_files

    on_disk([job], are_named=True)
    loaded = load_files([job.spec], [*job.overrides, *overrides]).jobs()
    return next((each for each in loaded if each.title == job.title), loaded[0]).work


def _load_one(spec: str, overrides: Sequence[str]) -> LoadedJob:
    from tuner.pipelines.load import load_files

    loaded = load_files([spec], overrides).jobs()
    if len(loaded) > 1:
        what = f"it has {len(loaded)} jobs: {', '.join(each.title for each in loaded[:4])}, ..."
        fix = "name one of them, as `tuner status` shows it"
        raise InvalidInput([Problem(spec, 0, 0, what, fix)])
    return loaded[0]
