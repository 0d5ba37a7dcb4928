"""Resolve the models that `tuner eval` and `tuner compare` name: a stored job, a spec, or any model."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

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


def find(given: str, data: str | None, store: Store, overrides: Sequence[str]) -> Subject:
    """Resolve ``given``, with the held-out rows of the spec ``data`` or else of its own spec.

    Raises:
        InvalidInput: The spec is invalid or holds out no rows, or a model is given without ``data``.
        TunerError: The job was started from Python without a spec file.
    """
    if _is_file(given):
        asked = _one_of(given, overrides)
        work = _load(data, overrides) if data else asked.work
        return Subject(_begun(asked, store), _with_rows(work))
    known = _known(given, store)
    if data:
        work = _load(data, overrides)
        return Subject(known or _model(given, work), _with_rows(work))
    if known is None:
        what = f"there is no job {given!r} in the local store"
        fix = "`tuner status` lists the jobs; for any other model add --data SPEC"
        raise InvalidInput([Problem("", 0, 0, what, fix)])
    return Subject(known, _with_rows(_of_job(known, overrides)))


def find_model(given: str, work: PreparedJob, store: Store) -> Job:
    """Resolve a further model, evaluated on the rows of ``work``."""
    if _is_file(given):
        return _begun(_one_of(given, ()), store)
    return _known(given, store) or _model(given, work)


@contextmanager
def unless_never_tuned(job: Job, store: Store) -> Iterator[None]:
    """Add a fix to errors about a model that no known run has created."""
    try:
        yield
    except (NotAllowed, NotFound) as error:
        if not job.spec or store.find(job.where, job.tuned_model):
            raise
        fix = f"`tuner run {quote(job.spec)}` tunes it"
        raise type(error)(error.what, fix) from error


def _is_file(given: str) -> bool:
    return Path(given).suffix in (".yaml", ".yml") or Path(given).is_file()


def _known(given: str, store: Store) -> Job | None:
    from tuner.cli.following import UnknownJob, bookmarks

    try:
        return bookmarks(store, [given])[0]
    except UnknownJob:
        if store.jobs(given):  # several jobs have this name
            raise
        return None


def _model(given: str, work: PreparedJob) -> Job:
    """A model without a stored job; may be a base model."""
    from tuner import names
    from tuner.job import Job

    return Job(given, work.spec.target, names.model(given), content="", spec="")


def _begun(asked: LoadedJob, store: Store) -> Job:
    from dataclasses import replace

    from tuner.jobs.runner import find_or_create_job

    return replace(find_or_create_job(asked.work, store), name=asked.title, label="")


def _of_job(job: Job, overrides: Sequence[str]) -> PreparedJob:
    """Load the spec of a stored job, or its stage of a pipeline."""
    from tuner.cli.run import on_disk
    from tuner.pipelines.load import load_files

    on_disk([job], are_named=True)
    all_of = load_files([job.spec], [*job.overrides, *overrides]).jobs()
    mine = [asked for asked in all_of if asked.title == job.title] or all_of[:1]
    return mine[0].work


def _load(spec: str, overrides: Sequence[str]) -> PreparedJob:
    return _one_of(spec, overrides).work


def _one_of(spec: str, overrides: Sequence[str]) -> LoadedJob:
    from tuner.pipelines.load import load_files

    asked = load_files([spec], overrides).jobs()
    if len(asked) > 1:
        what = f"it has {len(asked)} jobs: {', '.join(each.title for each in asked[:4])}, ..."
        raise InvalidInput(
            [Problem(spec, 0, 0, what, "name one of them, as `tuner status` shows it")]
        )
    return asked[0]


def _with_rows(work: PreparedJob) -> PreparedJob:
    if not work.holdout:
        fix = "add evaluation.holdout: 0.1 or evaluation.path, or name another spec with --data"
        raise InvalidInput([Problem(str(work.spec.path), 0, 0, "no rows are held out", fix)])
    return work
