"""The event log and the audit log: files with one JSON object per line, for many processes.

The audit log records who changed what, when, and why it was allowed. A line with the intended change
is on disk before the service is called, and another follows once the change is made. After a crash
between the two, the next run finds the change made and records that.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import sys
import time
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TextIO

from tuner import home
from tuner.errors import TunerError
from tuner.events.events import EventKind
from tuner.events.reporters import Throttled, as_record
from tuner.files import sync
from tuner.formatting import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tuner.events.events import Event
    from tuner.targets import Target
    from tuner.types import TargetConfig

MAX_LOG_BYTES = 20 * 1024 * 1024
ROTATION_CHECK_EVENTS = 256


def events_file() -> Path:
    """Return the path of the log of all events of all runs."""
    return home.logs_folder() / "events.jsonl"


def audit_file() -> Path:
    """Return the path of the audit log, which is never rotated."""
    return home.logs_folder() / "audit.jsonl"


class EventLog:
    """Writes events to a log, without texts of examples, and with ten lines of progress per job.

    If the log cannot be written, the run continues, with one warning on stderr.
    """

    def __init__(
        self,
        path: Path | None = None,
        clock: Callable[[], float] = time.time,
        stream: TextIO | None = None,
    ) -> None:
        """Write to ``path``, by default ``events_file()``, and warn on ``stream``, by default stderr."""
        self._path = path or events_file()
        self._clock = clock
        self._stream = stream or sys.stderr
        self._throttle = Throttled()
        self._seq = 0
        self._has_warned = False

    def __call__(self, event: Event) -> None:
        """Write one line, unless the event repeats the last one."""
        if not self._throttle(event):
            return
        self._seq += 1
        record = as_record(event, self._clock())
        record |= {"text": str(event), "run": os.getpid(), "seq": self._seq}
        try:
            if self._seq % ROTATION_CHECK_EVENTS == 1:
                rotate(self._path, MAX_LOG_BYTES)
            append(self._path, record)
        except OSError as error:
            if not self._has_warned:
                what = f"warning: {self._path} cannot be written: {error.strerror}"
                print(what, file=self._stream)
            self._has_warned = True


class Change(NamedTuple):
    """A change of a tuned model on a target (``Job.where``).

    Attributes:
        target: The target.
        tuned_model: The model's name.
        action: ``create``, ``grant``, ``change_role``, ``revoke``, ``transfer``, ``delete``,
            ``cancel`` or ``overrule``.
        what: The model, the grant, or the new owner.
        why: Why the change is allowed.
    """

    target: str
    tuned_model: str
    action: str
    what: str
    why: str


class AuditLog:
    """Writes a line for every change, before and after it is made.

    Raises:
        TunerError: From every call: the line cannot be written, so nothing may be changed.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """Write to ``path``, by default ``audit_file()``; ``clock`` gives seconds since 1970."""
        self._path = path or audit_file()
        self._clock = clock
        self._credentials: dict[str, str] = {}

    def set_credentials(self, target: str, credentials: str) -> None:
        """Set whose credentials a target (``Job.where``) is used with, as ``Target.caller`` says."""
        self._credentials[target] = credentials

    def __call__(self, event: Event) -> None:
        """Write a line if the event is about a change."""
        job = event.job
        if event.kind is EventKind.CHANGING:
            state, action, what, why = "intended", event["action"], event["what"], event["why"]
        elif event.kind in _AUDITED:
            state, action, what_key, why_key = _AUDITED[event.kind]
            what = event.data.get(what_key, job.tuned_model)
            why = event.data.get(why_key, job.allowed if action in _NEEDS_GATE else "")
        else:
            return
        self.write(state, Change(job.where, job.tuned_model, action, what, why))

    def write(self, state: str, change: Change) -> None:
        """Append a line; an ``intended`` change of access is on disk when this returns."""
        record = {
            "time": format_time(self._clock()),
            "who": user_at_host(),
            "pid": os.getpid(),
            "credentials": self._credentials.get(change.target, ""),
            **change._asdict(),
            "state": state,
        }
        # a creation can be repeated safely, so it need not wait for the disk
        is_durable = state == "intended" and change.action != "create"
        try:
            append(self._path, record, durable=is_durable)
        except OSError as error:
            raise TunerError(
                f"the audit log {self._path} cannot be written: {error.strerror}",
                "nothing is shared, transferred or deleted unrecorded: make it writable, or free disk space",
            ) from error


_NEEDS_GATE = ("grant", "change_role", "transfer")
# state, action, and the keys of the event's data for what (else the model) and why (else ``allowed``)
_AUDITED = {
    EventKind.SUBMITTED: ("done", "create", "", ""),
    EventKind.ALREADY_EXISTED: ("found", "create", "", ""),
    EventKind.GRANTED: ("done", "grant", "grant", ""),
    EventKind.ROLE_CHANGED: ("done", "change_role", "grant", ""),
    EventKind.ALREADY_GRANTED: ("found", "grant", "grant", ""),
    EventKind.TRANSFERRED: ("done", "transfer", "owner", ""),
    EventKind.ALREADY_TRANSFERRED: ("found", "transfer", "owner", ""),
    EventKind.DELETED: ("done", "delete", "", "why"),
    EventKind.CANCELLING: ("done", "cancel", "", "why"),
    EventKind.ALREADY_CANCELLED: ("found", "cancel", "", ""),
    EventKind.STOPPING: ("decided", "cancel", "", "why"),
    EventKind.FORCED: ("decided", "overrule", "", "misses"),
}


@contextmanager
def audited_by_hand(
    config: TargetConfig, target: Target, tuned_model: str, action: str, what: str
) -> Iterator[None]:
    """Record a command's change: ``intended`` before the block, ``done`` after it unless it raises.

    Raises:
        TunerError: The change cannot be recorded, so it must not be made.
    """
    audit = AuditLog()
    audit.set_credentials(config.where, target.caller)
    change = Change(config.where, tuned_model, action, what, "by hand")
    audit.write("intended", change)
    yield
    audit.write("done", change)


@cache
def user_at_host() -> str:
    """Return ``user@host`` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def append(path: Path, record: Mapping[str, object], *, durable: bool = False) -> None:
    """Append one line, whole or not at all, to a file that only its owner may read.

    The file is created if missing, with its folder. With ``durable`` the line survives a crash of the
    machine once this returns.

    Raises:
        OSError: The file cannot be written; its content is unchanged.
    """
    line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_new = not path.exists()
    with _locked(path) as file:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            line = b"\n" + line  # a crash tore the last line
        try:
            while line:
                line = line[os.write(file, line) :]
            if durable:
                os.fsync(file)
        except OSError:
            os.ftruncate(file, size)
            raise
    if is_new and durable:
        sync(path.parent)  # the new file's name


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Open a file under an exclusive lock, which another process may rotate until it is held."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    yield file
                    return
        finally:
            os.close(file)


def rotate(path: Path, max_bytes: int) -> None:
    """Rename a file that has grown to ``max_bytes`` to ``.1``, replacing an older one.

    Raises:
        OSError: It cannot be renamed.
    """
    with suppress(FileNotFoundError):
        if path.stat().st_size < max_bytes:
            return
        with _locked(path) as file:
            if os.fstat(file).st_size >= max_bytes:  # no other process was faster
                path.replace(rotated(path))


def rotated(path: Path) -> Path:
    """Return the path that a log is rotated to."""
    return path.with_name(f"{path.name}.1")


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a log and its rotated file, oldest first; torn lines are left out."""
    for each in (rotated(path), path):
        if each.exists():
            with each.open("rb") as lines:
                yield from _records(lines)


def follow_log(
    path: Path, sleep: Callable[[float], None] = time.sleep, every_s: float = 0.5
) -> Iterator[dict[str, Any]]:
    """Yield as ``read_log``, then what is appended, across rotations, until the caller stops."""
    if rotated(path).exists():
        with rotated(path).open("rb") as lines:
            yield from _records(lines)
    while True:
        if path.exists():
            with path.open("rb") as file:
                yield from _until_rotated(file, path, lambda: sleep(every_s))
        else:
            sleep(every_s)


def _until_rotated(
    file: BinaryIO, path: Path, wait: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    is_current = True
    while is_current:
        is_current = path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino
        yield from _records(_whole_lines(file))
        if is_current:
            wait()


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield complete lines; one that is still being written is left for the next read."""
    while True:
        position, line = file.tell(), file.readline()
        if not line.endswith(b"\n"):
            file.seek(position)
            return
        yield line


def _records(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield record


def select_records(
    records: Iterable[dict[str, Any]], names: Sequence[str], since: float = 0.0
) -> Iterator[dict[str, Any]]:
    """Yield the records of some jobs, by name, title, model name or ID; without names those of all.

    ``since`` is in seconds since 1970.
    """
    wanted = {*names, *(f"tunedModels/{name}" for name in names)}
    for record in records:
        job, label = record.get("job"), record.get("label")
        known = {job, f"{job}[{label}]", record.get("tuned_model")}
        moment = record.get("time")
        if parse_time(moment) >= since and (not wanted or wanted & known):
            if isinstance(moment, int | float):  # logs of older versions counted seconds
                with suppress(ValueError, OverflowError, OSError):
                    record["time"] = format_time(moment)
            yield record
