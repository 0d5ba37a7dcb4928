"""The errors that users can see, and the exit code of each.

TunerError                1   a job failed
|-- TuningFailed          1   the service reports that a tuning failed
|-- InvalidInput          2   a list of Problems: spec, data or command line; nothing was submitted
|   |-- SpecError         2
|   `-- DatasetError      2
|-- RequestRefused        2   the service rejects the request as invalid
|   |-- NotFound          2
|   `-- AlreadyExists     2
|-- GateNotMet            3   tuned, but not good enough to be shared
|-- NotAllowed            4   credentials are missing, wrong or insufficient
|-- Unavailable           5   the target is down or out of quota; try again
|-- NotFinished           6   --timeout passed; the job continues
|-- Cancelled             7   the tuning was cancelled
`-- Detached            130   Ctrl-C: tuner stopped watching; the job continues
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Severity = Literal["error", "warning"]

_CONTROL_CHARS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def strip_control_chars(text: str) -> str:
    """Replace control and text-direction characters, which a service or file may contain, by spaces."""
    return _CONTROL_CHARS.sub(" ", text)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """An error or warning: what is wrong, where, and how to fix it.

    Attributes:
        path: The file as the user named it; empty for the command line.
        line: 1-based; 0 for the whole file.
        column: 1-based, in characters; 0 for the whole line.
        what: The error in the user's terms, without a full stop.
        fix: What to do about it, without a full stop; may be empty.
        rule: Code of the rule, e.g. ``empty-output``.
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
        """``file``, ``file:line`` or ``file:line:column``, as far as known."""
        numbers = [str(number) for number in (self.line, self.column) if number]
        return ":".join([self.path, *numbers])

    def __str__(self) -> str:
        """Return two lines: the location with the error, then the fix."""
        location = f"{self.where}: " if self.path else ""
        fix = f"\n  fix: {self.fix}" if self.fix else ""
        return strip_control_chars(f"{self.severity}: {location}{self.what}{fix}")


class TunerError(Exception):
    """An error for the user: what is wrong, and a fix."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        """Return the same two lines as a Problem."""
        return str(Problem("", 0, 0, self.what, self.fix))


class TuningFailed(TunerError):
    """The service reports that a tuning failed."""


class InvalidInput(TunerError):
    """The user's files or arguments are invalid; holds all problems."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        """``problems`` has at least one item."""
        super().__init__(problems[0].what, problems[0].fix)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        """Return all problems, in order."""
        return "\n".join(map(str, self.problems))


class SpecError(InvalidInput):
    """A job spec is invalid."""


class DatasetError(InvalidInput):
    """A file of examples is invalid."""


class RequestRefused(TunerError):
    """The service rejects the request as invalid."""

    exit_code = 2


class NotFound(RequestRefused):
    """The resource does not exist, or is hidden from the caller."""


class AlreadyExists(RequestRefused):
    """A resource of this name exists already."""


class GateNotMet(TunerError):
    """The tuned model does not meet the spec's gate."""

    exit_code = 3


class NotAllowed(TunerError):
    """Credentials are missing, wrong or insufficient."""

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
        """Create the error.

        Args:
            what: As in TunerError.
            fix: As in TunerError.
            retry_after_s: The delay the service asks for.
            is_passing: Whether a retry may help.
            is_quota: The service works, but the caller's quota is used up.
        """
        super().__init__(what, fix)
        self.retry_after_s = retry_after_s
        self.is_passing, self.is_quota = is_passing, is_quota


class NotFinished(TunerError):
    """The timeout passed before the job ended; the job continues."""

    exit_code = 6


class Cancelled(TunerError):
    """The tuning was cancelled."""

    exit_code = 7


class Detached(TunerError):
    """Ctrl-C: tuner stopped watching; the job continues."""

    exit_code = 130
