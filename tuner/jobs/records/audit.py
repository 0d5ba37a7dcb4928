"""The audit log: who changed what of whose access, when, and why it was allowed.

A line that says what is intended is on the disk before the service is called, and another follows
once it is done. Where a crash fell between the two, the next run finds the change made, and says so.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tuner.errors import TunerError
from tuner.events.events import Event, EventKind
from tuner.formatting import format_time
from tuner.jobs.records import journal
from tuner.jobs.records.log import audit_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tuner.targets import Target
    from tuner.types import TargetConfig


class Change(NamedTuple):
    """What is done to a tuned model on a target (``Job.where``).

    Attributes:
        target: Where.
        tuned_model: Its name.
        action: ``create``, ``grant``, ``change_role``, ``revoke``, ``transfer``, ``delete``,
            ``cancel`` or ``overrule``.
        what: The model, the grant, or the new owner.
        why: Why it is allowed.
    """

    target: str
    tuned_model: str
    action: str
    what: str
    why: str


class Audit:
    """Takes events and writes a line for every change, before it is made and after.

    Raises:
        TunerError: From every call: the line cannot be written, so nothing may be changed.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        """``path`` in place of ``audit_file()``; ``clock`` gives seconds since 1970."""
        self._path = path or audit_file()
        self._journal = journal.Journal(self._path)
        self._clock = clock
        self._credentials: dict[str, str] = {}

    def speaks_for(self, target: str, credentials: str) -> None:
        """Whose credentials are used at a target, given as ``Job.where`` and ``Target.caller``."""
        self._credentials[target] = credentials

    def __call__(self, event: Event) -> None:
        """Write a line when the event is about a change."""
        said = _said(event)
        if said:
            state, action, what, why = said
            job = event.job
            self.write(state, Change(job.where, job.tuned_model, action, what, why))

    def write(self, state: str, change: Change) -> None:
        """Add a line; an ``intended`` change of access is on the disk when this returns."""
        record = {
            "time": format_time(self._clock()),
            "who": whoami(),
            "pid": os.getpid(),
            "credentials": self._credentials.get(change.target, ""),
            **change._asdict(),
            "state": state,
        }
        try:
            is_first = state == "intended" and change.action != "create"
            self._journal.append(record, durable=is_first)
        except OSError as error:
            raise TunerError(
                f"the audit log {self._path} cannot be written: {error.strerror}",
                "nothing is shared, transferred or deleted unrecorded: free some disk space, or "
                "make it writable",
            ) from error

    @contextmanager
    def of(self, change: Change) -> Iterator[None]:
        """Around a change made by hand: intended before, done after it, unless it failed."""
        self.write("intended", change)
        yield
        self.write("done", change)


@contextmanager
def by_hand(
    config: TargetConfig, target: Target, tuned_model: str, action: str, what: str
) -> Iterator[None]:
    """Around a change that a person makes with a command.

    Raises:
        TunerError: It cannot be recorded, so it must not be made.
    """
    audit = Audit()
    audit.speaks_for(config.where, target.caller)
    with audit.of(Change(config.where, tuned_model, action, what, "by hand")):
        yield


@cache
def whoami() -> str:
    """``user@host`` of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _said(event: Event) -> tuple[str, str, str, str] | None:
    """State, action, what, and why; None when the event is about no change."""
    if event.kind is EventKind.CHANGING:
        return "intended", event["action"], event["what"], event["why"]
    if event.kind not in _SAID:
        return None
    state, action, what, why = _SAID[event.kind]
    job = event.job
    return (
        state,
        action,
        event.data.get(what, job.tuned_model),
        event.data.get(why, job.allowed if action in _ALLOWED else ""),
    )


_ALLOWED = ("grant", "change_role", "transfer")
_SAID = {
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
"""State, action, and the event's fields that say what (else the model) and why (else ``allowed``)."""
