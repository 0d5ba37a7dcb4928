"""What happens after a failed call, by status code and purpose of the call.

Follows AIP-194: only UNAVAILABLE is retried, and only calls that change nothing.
"""

from __future__ import annotations

import random
from enum import StrEnum


class Call(StrEnum):
    """What a call is for."""

    READ = "read"
    GENERATE = "generate"
    CHANGE = "change"


class Action(StrEnum):
    """What happens to the call and to the step of the job that it belongs to."""

    RETRY = "retry"
    RESTART = "restart"
    WAIT = "wait"
    FAIL = "fail"


MEANINGS = {
    Action.RETRY: "the same call, five times within about four seconds, with jitter; then as *restart*",
    Action.RESTART: (
        "the call is not repeated: the step of the job starts again and reads the state of the "
        "service, for up to 5 s (local) or 300 s (gemini); then `Unavailable`"
    ),
    Action.WAIT: (
        "as *restart*, but after the time that the service names, and without a limit: an exhausted "
        "quota is not a failure"
    ),
    Action.FAIL: "the error is reported at once",
}


def _row(read: Action, change: Action) -> dict[Call, Action]:
    """Return a row; generating changes nothing, so it is treated as reading."""
    return {Call.READ: read, Call.GENERATE: read, Call.CHANGE: change}


_RESTART = _row(Action.RESTART, Action.RESTART)
_FAIL = _row(Action.FAIL, Action.FAIL)

ACTIONS = {
    "UNAVAILABLE": _row(Action.RETRY, Action.RESTART),
    "RESOURCE_EXHAUSTED": _row(Action.WAIT, Action.WAIT),
    "DEADLINE_EXCEEDED": _RESTART,
    "INTERNAL": _RESTART,
    "UNKNOWN": _RESTART,
    "ABORTED": _RESTART,
    "DATA_LOSS": _RESTART,
    "CANCELLED": _RESTART,
    "ALREADY_EXISTS": _row(Action.FAIL, Action.RESTART),
    "NOT_FOUND": _FAIL,
    "UNAUTHENTICATED": _FAIL,
    "PERMISSION_DENIED": _FAIL,
    "INVALID_ARGUMENT": _FAIL,
    "FAILED_PRECONDITION": _FAIL,
    "OUT_OF_RANGE": _FAIL,
    "UNIMPLEMENTED": _FAIL,
}
REMARKS = {
    "RESOURCE_EXHAUSTED": "`Unavailable`, 5, if the run times out or the command is not a job",
    "ALREADY_EXISTS": "success if the model or permission is as requested; else `AlreadyExists`, 2",
    "NOT_FOUND": "`NotFound`, 2; before a create: it does not exist yet; after a delete: success",
    "UNAUTHENTICATED": "`NotAllowed`, 4",
    "PERMISSION_DENIED": '`NotAllowed`, 4; "... or it may not exist" is `NotFound`, 2',
}
REFUSED = "`RequestRefused`, 2, with every invalid field"
PASSING = "`Unavailable`, 5"


def markdown() -> str:
    """Return the table for docs/targets.md and the meaning of its words."""
    lines = [
        "| status | reading, polling | generating | changing | final error, exit code |",
        "|---|---|---|---|---|",
    ]
    for code, row in ACTIONS.items():
        otherwise = REFUSED if row[Call.READ] is Action.FAIL else PASSING
        cells = (code, *(row[call].value for call in Call), REMARKS.get(code, otherwise))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- *{action}*: {meaning}." for action, meaning in MEANINGS.items())]
    return "\n".join(lines) + "\n"


def jittered(seconds: float) -> float:
    """Return ``seconds`` give or take a fifth, so that many callers do not retry in step."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 -- nothing secret
