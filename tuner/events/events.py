"""Events: what happens to a job while it runs, as one type with a kind, and the message for each kind."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tuner.formatting import format_number
from tuner.types import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuner.job import Job

    EventHandler = Callable[["Event"], None]


class EventKind(StrEnum):
    """What happened; the value is the name in logs and JSON output."""

    # changes at the service: announced before the call, reported after it
    CHANGING = "Changing"
    SUBMITTED = "Submitted"
    ALREADY_EXISTED = "AlreadyExisted"
    GRANTED = "Granted"
    ROLE_CHANGED = "RoleChanged"
    ALREADY_GRANTED = "AlreadyGranted"
    UNEXPECTED_PERMISSION = "UnexpectedPermission"
    TRANSFERRED = "Transferred"
    ALREADY_TRANSFERRED = "AlreadyTransferred"
    ALLOWED = "Allowed"
    FORCED = "Forced"
    CANCELLING = "Cancelling"
    ALREADY_CANCELLED = "AlreadyCancelled"
    DELETED = "Deleted"
    DELETION_SKIPPED = "DeletionSkipped"
    # the course of a job
    PROGRESS = "Progress"
    MEASURED = "Measured"
    TUNED = "Tuned"
    STOPPING = "Stopping"
    EVALUATING = "Evaluating"
    JUDGING = "Judging"
    EVALUATED = "Evaluated"
    RETRYING = "Retrying"
    SELECTED = "Selected"
    NOT_SELECTED = "NotSelected"
    SKIPPED = "Skipped"
    ENDED = "Ended"
    # around a job
    WATCHING = "Watching"
    TAKEN_OVER = "TakenOver"
    WAITING = "Waiting"
    NOTIFICATION_FAILED = "NotificationFailed"
    NOT_LOCKED = "NotLocked"


class Event:
    """Something that happened to a job; ``str()`` is a line that does not name the job.

    Attributes:
        kind: What happened.
        job: Its state at that time.
        data: Further values, by their names in the message of the kind.
    """

    __slots__ = ("data", "job", "kind")

    def __init__(self, kind: EventKind, job: Job, **data: Any) -> None:
        self.kind, self.job = kind, job
        self.data: Mapping[str, Any] = data

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def __str__(self) -> str:
        message = _MESSAGES[self.kind]
        if isinstance(message, str):
            return message.format(job=self.job, **self.data)
        return message(self)

    def __repr__(self) -> str:
        return f"Event({self.kind}, {self.job.title}, {self.data})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event):
            return NotImplemented
        return (self.kind, self.job, self.data) == (other.kind, other.job, other.data)

    __hash__ = None  # type: ignore[assignment]  # its data may be mutable

    @property
    def is_change(self) -> bool:
        """Whether this run changed something, instead of finding it done."""
        return self.kind in _CHANGES or (self.kind is EventKind.EVALUATED and not self["kept"])

    @property
    def amounts(self) -> tuple[int, int]:
        """Steps or answers done, and their total; for gradual kinds only."""
        if self.kind is EventKind.PROGRESS:
            return self["operation"].completed_steps, self["operation"].total_steps
        return self["done"], self["total"]


_CHANGES = frozenset(
    {
        EventKind.SUBMITTED,
        EventKind.GRANTED,
        EventKind.ROLE_CHANGED,
        EventKind.TRANSFERRED,
        EventKind.DELETED,
    }
)
GRADUAL = frozenset({EventKind.PROGRESS, EventKind.EVALUATING, EventKind.JUDGING})
"""Progress events, sent repeatedly; reporters show one per tenth."""
LOG_ONLY = frozenset({EventKind.CHANGING, EventKind.CANCELLING, EventKind.ALREADY_CANCELLED})
"""Only in the log: other events show users the reason before and the result after."""


def _progress(event: Event) -> str:
    """Steps, and the mean loss over the last eighth of all steps: that of one batch is noise."""
    done, total = event.amounts
    snapshots = event["operation"].snapshots
    before = (snapshots[-1].step if snapshots else 0) - max(1, total // 8)
    recent = [each.mean_loss for each in snapshots if each.step > before]
    loss = f", loss {format_number(sum(recent) / len(recent))}" if recent else ""
    return f"tuning, step {done} of {total}{loss}"


def _changing(event: Event) -> str:
    why = f" ({event['why']})" if event["why"] else ""
    return f"{event['action'].replace('_', ' ')} {event['what']}{why}"


def _ended(event: Event) -> str:
    if event.job.phase is not Phase.DONE:
        return f"{event.job.phase.lower()}: {event.job.error}"
    return "done" if event["changed"] else "nothing to do: everything is as the spec says"


_MESSAGES: dict[EventKind, str | Callable[[Event], str]] = {
    EventKind.CHANGING: _changing,
    EventKind.SUBMITTED: "submitted {job.tuned_model}, {rows} rows, to {job.where}",
    EventKind.ALREADY_EXISTED: "{job.tuned_model} exists already: nothing submitted",
    EventKind.GRANTED: "granted {grant}",
    EventKind.ROLE_CHANGED: "changed the role of {grant}",
    EventKind.ALREADY_GRANTED: "{grant} has access already",
    EventKind.UNEXPECTED_PERMISSION: "{grant} has access but is not in the spec; left unchanged",
    EventKind.TRANSFERRED: "ownership transferred to {owner}",
    EventKind.ALREADY_TRANSFERRED: "{owner} is the owner already",
    EventKind.ALLOWED: "may be shared: {why}",
    EventKind.FORCED: "shared although {misses}: --force-share",
    EventKind.CANCELLING: "requested the service to cancel it: {why}",
    EventKind.ALREADY_CANCELLED: "the service has cancelled it",
    EventKind.DELETED: "deleted {job.tuned_model}: {why}",
    EventKind.DELETION_SKIPPED: "{job.tuned_model} is not deleted: {why}",
    EventKind.PROGRESS: _progress,
    EventKind.MEASURED: "about {tokens_per_step} tokens a step",
    EventKind.TUNED: "tuned: {job.tuned_model} is ACTIVE",
    EventKind.STOPPING: "stopping early: {why}",
    EventKind.EVALUATING: "evaluating on held-out rows, {done} of {total} answers",
    EventKind.JUDGING: "judging, {done} of {total} answers",
    EventKind.EVALUATED: lambda event: (
        f"{event['evaluation']}{', from an earlier run' if event['kept'] else ''}"
    ),
    EventKind.RETRYING: "tuned again, attempt {job.attempt}",
    EventKind.SELECTED: lambda event: (
        f"the best of {event['of']} by {event['metric']}, {format_number(event['score'])}"
    ),
    EventKind.NOT_SELECTED: "{winner} is better",
    EventKind.SKIPPED: "skipped: {why}",
    EventKind.ENDED: _ended,
    EventKind.WATCHING: "{holder} works on it: watching",
    EventKind.TAKEN_OVER: "taken over from {holder}, which is gone",
    EventKind.WAITING: "trying again in {seconds:.0f} s: {reason}",
    EventKind.NOTIFICATION_FAILED: "could not notify {sink}: {why}",
    EventKind.NOT_LOCKED: "not written to tuner.lock: {why}",
}
