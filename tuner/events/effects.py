"""What is done to a model at the service, and why it may be: events as the others."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.events.events import Evaluated, Event


@dataclass(frozen=True, slots=True)
class Submitted(Event):
    """The service has accepted the tuning."""

    rows: int

    def __str__(self) -> str:
        """What and where."""
        return f"submitted {self.job.tuned_model}, {self.rows} rows, to {self.job.where}"


@dataclass(frozen=True, slots=True)
class Adopted(Event):
    """The service holds this very model already."""

    def __str__(self) -> str:
        """That nothing was sent."""
        return f"{self.job.tuned_model} is there already: nothing submitted"


@dataclass(frozen=True, slots=True)
class Granted(Event):
    """A permission was created."""

    grant: str

    def __str__(self) -> str:
        """To whom."""
        return f"granted {self.grant}"


@dataclass(frozen=True, slots=True)
class RoleChanged(Event):
    """A permission was there with another role, and has this one now."""

    grant: str

    def __str__(self) -> str:
        """To whom, and which."""
        return f"changed the role of {self.grant}"


@dataclass(frozen=True, slots=True)
class AlreadyGranted(Event):
    """A permission was there."""

    grant: str

    def __str__(self) -> str:
        """Who has it."""
        return f"{self.grant} has access already"


@dataclass(frozen=True, slots=True)
class Stranger(Event):
    """Somebody has access whom the spec does not name; left alone."""

    grant: str

    def __str__(self) -> str:
        """Who, and that nothing was done about it."""
        return f"{self.grant} has access though the spec does not name them; left alone"


@dataclass(frozen=True, slots=True)
class Transferred(Event):
    """The model has a new owner."""

    owner: str

    def __str__(self) -> str:
        """The new owner."""
        return f"ownership transferred to {self.owner}"


@dataclass(frozen=True, slots=True)
class AlreadyTransferred(Event):
    """The model belonged to its new owner already."""

    owner: str

    def __str__(self) -> str:
        """The owner."""
        return f"{self.owner} is the owner already"


@dataclass(frozen=True, slots=True)
class Changing(Event):
    """Something is about to be changed; told before the call.

    Attributes:
        action: ``create``, ``grant``, ``change_role``, ``transfer``, ``delete`` or ``cancel``.
        what: The model, or the grant.
        why: Why it is allowed.
    """

    action: str
    what: str
    why: str

    def __str__(self) -> str:
        """What is done, to what, and why."""
        return f"{self.action.replace('_', ' ')} {self.what}{f' ({self.why})' if self.why else ''}"


@dataclass(frozen=True, slots=True)
class Allowed(Event):
    """The model may be shared and handed over."""

    why: str

    def __str__(self) -> str:
        """Why."""
        return f"may be shared: {self.why}"


@dataclass(frozen=True, slots=True)
class Forced(Event):
    """The gate was not met and is overruled."""

    misses: str

    def __str__(self) -> str:
        """What is missed."""
        return f"shared although {self.misses}: --force-share"


@dataclass(frozen=True, slots=True)
class Cancelling(Event):
    """The service has taken the request to cancel the tuning."""

    why: str

    def __str__(self) -> str:
        """Why."""
        return f"asked the service to cancel it: {self.why}"


@dataclass(frozen=True, slots=True)
class AlreadyCancelled(Event):
    """The service shows as cancelled what this job has given up."""

    def __str__(self) -> str:
        """That it is."""
        return "the service has cancelled it"


@dataclass(frozen=True, slots=True)
class Deleted(Event):
    """The model was deleted."""

    why: str

    def __str__(self) -> str:
        """Which, and why."""
        return f"deleted {self.job.tuned_model}: {self.why}"


@dataclass(frozen=True, slots=True)
class Spared(Event):
    """A model that was beaten is not deleted, though losers are to be."""

    why: str

    def __str__(self) -> str:
        """Why."""
        return f"{self.job.tuned_model} is not deleted: {self.why}"


def is_change(event: Event) -> bool:
    """Whether the event stands for work done, not for something found to be so."""
    if isinstance(event, Evaluated):
        return not event.kept
    return isinstance(event, Submitted | Granted | RoleChanged | Transferred | Deleted)


UNSAID = (Changing, Cancelling, AlreadyCancelled)
"""For the logs: people are told before it why, and after it what came of it."""
