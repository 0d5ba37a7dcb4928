"""Every error a user can meet, and the exit code of each.

TunerError                1   a job failed
|-- TuningFailed          1   the service gave up on a tuning task
|-- InvalidInput          2   a list of Problems: spec, data or command line; nothing was submitted
|   |-- SpecError         2
|   `-- DatasetError      2
|-- RequestRefused        2   the service read the request and says it is wrong
|   |-- NotFound          2
|   `-- AlreadyExists     2
|-- GateNotMet            3   tuned, but not good enough to be shared
|-- NotAllowed            4   the credentials are missing, wrong or do not reach this far
|-- Unavailable           5   the target is down or out of quota: try again
|-- NotFinished           6   --timeout passed, the job goes on
|-- Superseded            6   another runner took the job over, it goes on there
|-- Cancelled             7   somebody cancelled the tuning
`-- Detached            130   Ctrl-C: we stopped watching, the job goes on
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Severity = Literal["error", "warning"]

_MOVES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def inert(text: str) -> str:
    """``text`` that moves no cursor and turns no line around: a service, or a file, may say anything."""
    return _MOVES.sub(" ", text)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, where it is, and how to mend it.

    Attributes:
        path: The file as the user named it; empty for the command line.
        line: 1-based; 0 when the whole file is meant.
        column: 1-based, in characters; 0 when the whole line is meant.
        what: The complaint in the user's words, no full stop.
        fix: One way out, no full stop; empty when there is none to name.
        rule: Short name of the broken rule, e.g. ``empty-output``.
        severity: A ``warning`` never stops a job.
    """

    path: str
    line: int
    column: int
    what: str
    fix: str = ""
    rule: str = ""
    severity: Severity = "error"

    @property
    def where(self) -> str:
        """``file``, ``file:line`` or ``file:line:column``, as far as it is known."""
        numbers = [str(number) for number in (self.line, self.column) if number]
        return ":".join([self.path, *numbers])

    def __str__(self) -> str:
        """Two lines: the place with the complaint, then the fix."""
        place = f"{self.where}: " if self.path else ""
        fix = f"\n  fix: {self.fix}" if self.fix else ""
        return inert(f"{self.severity}: {place}{self.what}{fix}")


class TunerError(Exception):
    """Something went wrong that the user can understand; ``fix`` says what to do next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, fix: str = "") -> None:
        """Keep the complaint and the way out apart, so that both can be shown."""
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        """The same two lines as a Problem."""
        return str(Problem("", 0, 0, self.what, self.fix))


class TuningFailed(TunerError):
    """The service gave up on a tuning task."""


class InvalidInput(TunerError):
    """The user's files or arguments are wrong; every problem at once."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Take at least one problem."""
        super().__init__(problems[0].what, problems[0].fix)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        """All problems, in the order they were given."""
        return "\n".join(map(str, self.problems))


class SpecError(InvalidInput):
    """A job spec is wrong."""


class DatasetError(InvalidInput):
    """A file of tuning examples is wrong."""


class RequestRefused(TunerError):
    """The service understood the request and refuses it as wrong."""

    exit_code = 2


class NotFound(RequestRefused):
    """The service holds no such thing, or does not show it to us."""


class AlreadyExists(RequestRefused):
    """The name is taken."""


class GateNotMet(TunerError):
    """The tuned model is not as good as the spec requires."""

    exit_code = 3


class NotAllowed(TunerError):
    """Credentials are missing, wrong, or may not do this."""

    exit_code = 4


class Unavailable(TunerError):
    """The target cannot be reached or is out of quota; the same call may work later."""

    exit_code = 5

    def __init__(
        self,
        what: str,
        fix: str = "",
        *,
        retry_after_s: float | None = None,
        is_passing: bool = True,
        is_quota: bool = False,
    ) -> None:
        """``retry_after_s`` is the wait the service asked for; without ``is_passing`` no wait helps.

        ``is_quota`` says that the service is well and we are out of quota: waiting is no failure.
        """
        super().__init__(what, fix)
        self.retry_after_s = retry_after_s
        self.is_passing, self.is_quota = is_passing, is_quota


class NotFinished(TunerError):
    """We stopped waiting before the job ended; the job goes on."""

    exit_code = 6


class Superseded(TunerError):
    """Another runner took the job over; it goes on there."""

    exit_code = 6


class Cancelled(TunerError):
    """The tuning was cancelled."""

    exit_code = 7


class Detached(TunerError):
    """Ctrl-C: the job goes on without us."""

    exit_code = 130
