"""tuner.lock: beside the specs, what each of their jobs was made of and what came of it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import tempfile
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from tuner.errors import NotAllowed, Problem, RequestRefused, SpecError, TunerError
from tuner.events.events import Event, EventKind
from tuner.jobs.records.bursts import Bursts
from tuner.jobspec.files import is_pipeline
from tuner.types import Phase
from tuner.yaml_source import without_receivers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tuner.events.events import EventHandler
    from tuner.job import Job
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.targets import Target
    from tuner.types import Permission, TunedModel

    Entry = Mapping[str, Any]

NAME = "tuner.lock"
VERSION = 1
PHASES = frozenset({Phase.DONE, Phase.REJECTED, Phase.NOT_SELECTED})
"""The ends that leave a model worth a lock."""


async def keep(
    job: Job,
    work: PreparedJob,
    target: Target,
    permissions: Sequence[Permission],
    tell: EventHandler,
) -> None:
    """Lock a job that has ended, from what the service shows; NotLocked is told where that fails.

    It is on the disk when this returns, written together with what other jobs lock there just then.

    Without a spec there is nothing to stand beside: the job was started from Python, or the file is
    gone.
    """
    if not _is_lockable(job):
        return
    try:
        new = _new(job, work, await _visible(job, target), permissions)
        spec = Path(job.spec)
        await _bursts().put(spec.parent, key(spec, stage_of(job)), new)
    except TunerError as error:
        tell(Event(EventKind.NOT_LOCKED, job, why=error.what))


def _is_lockable(job: Job) -> bool:
    return job.phase in PHASES and job.is_on_disk and Path(job.spec).is_file()


async def _visible(job: Job, target: Target) -> TunedModel | None:
    """The model; None where it is hidden from us, as it may be once it was handed over."""
    try:
        return await target.tuned_model(job.tuned_model)
    except (NotAllowed, RequestRefused):
        return None


def write(
    job: Job, work: PreparedJob, model: TunedModel | None, permissions: Sequence[Permission]
) -> None:
    """Lock a job, now and alone: the same job gives the same bytes.

    Args:
        job: In an end phase.
        work: What was sent.
        model: As the service shows it; None when it is hidden from us. What was locked of this
            very model before stays then.
        permissions: As the service lists them; none where it does not.

    Raises:
        TunerError: The file is damaged, or cannot be read or written.
    """
    put(Path(job.spec), stage_of(job), _new(job, work, model, permissions))


def _new(
    job: Job, work: PreparedJob, model: TunedModel | None, permissions: Sequence[Permission]
) -> Entry:
    from tuner.jobs.records.provenance import described

    new = described(job, work, model, permissions)
    old = entry(Path(job.spec), stage_of(job)) or {}
    if (old.get("tuned_model"), old.get("content")) == (new["tuned_model"], new["content"]):
        return {key: old.get(key) if value is None else value for key, value in new.items()}
    return new


def stage_of(job: Job) -> str:
    """Tells the jobs of one file apart: in a pipeline's, its title; else what ``--set`` changed."""
    if is_pipeline(Path(job.spec)):
        return job.title
    return job.label or " ".join(without_receivers(job.overrides))


def key(spec: Path, stage: str = "") -> str:
    """What an entry is found by: the spec's file name, and which of its jobs."""
    return f"{spec.name}#{stage}" if stage else spec.name


def entry(spec: Path, stage: str = "") -> dict[str, Any] | None:
    """What is locked of a spec or pipeline file; None when nothing is.

    Raises:
        TunerError: The file is damaged, or cannot be read.
    """
    return entries(spec.parent / NAME, key(spec, stage)).get(key(spec, stage))


def entries(path: Path, *wanted: str) -> dict[str, dict[str, Any]]:
    """What is locked in a ``tuner.lock``, by key: all of it, or these; nothing when it is not there.

    Raises:
        TunerError: The file is damaged, or cannot be read.
    """
    known = read(path)
    members = [known[name] for name in wanted or known if name in known]
    found: dict[str, dict[str, Any]] = json.loads(f"{{{','.join(members)}}}")
    return found


def put(spec: Path, stage: str, new: Entry) -> None:
    """Lock an entry; it is on the disk when this returns. Others may write at the same time.

    Raises:
        TunerError: The file is damaged, or cannot be read or written.
    """
    _put(spec.parent, {key(spec, stage): new})


def _put(folder: Path, new: Mapping[str, Entry]) -> None:
    path = folder / NAME
    try:
        with _alone(folder):
            known = read(path)
            members = known | {name: _member(name, each) for name, each in new.items()}
            if members != known:
                _replace(path, members)
    except OSError as error:
        raise TunerError(
            f"{path} cannot be written: {error.strerror}", "make its folder writable"
        ) from error


def _bursts() -> Bursts:
    """Those of the running event loop."""
    return _all_bursts.setdefault(asyncio.get_running_loop(), Bursts(_put))


_all_bursts: WeakKeyDictionary[asyncio.AbstractEventLoop, Bursts] = WeakKeyDictionary()


def read(path: Path) -> dict[str, str]:
    """Every entry of a ``tuner.lock`` by its key, as its member stands in the file."""
    try:
        state = path.stat()
        known = _last.get(path)
        if known and known.state == _state(state):
            return known.members
        return _parsed(path, path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TunerError(f"{path} cannot be read: {error.strerror}", "make it readable") from error


class _Known(NamedTuple):
    """A file as we wrote it last, so that a thousand jobs do not parse it a thousand times."""

    state: tuple[int, int, int]
    members: dict[str, str]


_last: dict[Path, _Known] = {}


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _parsed(path: Path, data: bytes) -> dict[str, str]:
    fix = "take it from version control, or remove it: the next `tuner run` writes it anew"
    try:
        document = json.loads(data)
    except ValueError as error:
        line = getattr(error, "lineno", 0)
        raise SpecError([Problem(str(path), line, 0, "this is no JSON", fix)]) from error
    jobs = document.get("jobs") if isinstance(document, dict) else None
    if not isinstance(jobs, dict) or not all(isinstance(each, dict) for each in jobs.values()):
        raise SpecError([Problem(str(path), 0, 0, "it has no jobs, each with its facts", fix)])
    if document.get("version") != VERSION:
        what = f"it is of version {document.get('version')}, this tuner knows {VERSION}"
        raise SpecError([Problem(str(path), 0, 0, what, "upgrade tuner")])
    return {name: _member(name, each) for name, each in jobs.items()}


def _member(name: str, new: Entry) -> str:
    text = json.dumps(new, ensure_ascii=False, indent=2, sort_keys=True)
    return f"{json.dumps(name, ensure_ascii=False)}: {text}".replace("\n", "\n    ")


def _replace(path: Path, members: Mapping[str, str]) -> None:
    """All or nothing, and on the disk before the old one goes."""
    body = ",\n    ".join(members[name] for name in sorted(members))
    text = f'{{\n  "version": {VERSION},\n  "jobs": {{\n    {body}\n  }}\n}}\n'
    handle, made = tempfile.mkstemp(prefix=f".{NAME}.", dir=path.parent)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 -- mkstemp gives a number, not a path
            file.write(text.encode("utf-8", "backslashreplace"))
            file.flush()
            os.fchmod(handle, 0o666 & ~_umask())
            os.fsync(handle)
            state = _state(os.fstat(handle))
        Path(made).replace(path)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise
    _last[path] = _Known(state, dict(members))


@lru_cache
def _umask() -> int:
    """What is taken from a new file's mode; it can be read only by setting it."""
    now = os.umask(0o077)
    os.umask(now)
    return now


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While nobody else of this kind writes there."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)
