"""What is done after a failed call: every status code, by what the call was for.

After AIP-194: only UNAVAILABLE is repeated as it is, and only where that changes nothing.
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
    """What becomes of the call, and what of the step of the job that it belongs to."""

    AGAIN = "again"
    LOOK = "look"
    WAIT = "wait"
    REFUSE = "refuse"


MEANINGS = {
    Action.AGAIN: (
        "the same call, five times within about four seconds, with jitter; after that as *look*"
    ),
    Action.LOOK: (
        "never the same call: the step of the job begins anew and first asks what is true, for 5 s "
        "(local) or 300 s (gemini); then `Unavailable`"
    ),
    Action.WAIT: (
        "as *look*, but after as long as the service says, and without an end: being out of quota "
        "is no failure"
    ),
    Action.REFUSE: "the error goes up at once",
}


def _row(read: Action, change: Action) -> dict[Call, Action]:
    """Generating changes nothing."""
    return {Call.READ: read, Call.GENERATE: read, Call.CHANGE: change}


_LOOK = _row(Action.LOOK, Action.LOOK)
_REFUSE = _row(Action.REFUSE, Action.REFUSE)

ACTIONS = {
    "UNAVAILABLE": _row(Action.AGAIN, Action.LOOK),
    "RESOURCE_EXHAUSTED": _row(Action.WAIT, Action.WAIT),
    "DEADLINE_EXCEEDED": _LOOK,
    "INTERNAL": _LOOK,
    "UNKNOWN": _LOOK,
    "ABORTED": _LOOK,
    "DATA_LOSS": _LOOK,
    "CANCELLED": _LOOK,
    "ALREADY_EXISTS": _row(Action.REFUSE, Action.LOOK),
    "NOT_FOUND": _REFUSE,
    "UNAUTHENTICATED": _REFUSE,
    "PERMISSION_DENIED": _REFUSE,
    "INVALID_ARGUMENT": _REFUSE,
    "FAILED_PRECONDITION": _REFUSE,
    "OUT_OF_RANGE": _REFUSE,
    "UNIMPLEMENTED": _REFUSE,
}
REMARKS = {
    "RESOURCE_EXHAUSTED": "`Unavailable`, 5, when a run's time is over or nothing waits",
    "ALREADY_EXISTS": "a model or a permission that is as asked for was made by us; else `AlreadyExists`, 2",
    "NOT_FOUND": "`NotFound`, 2; before a create it means: not there yet; after a delete: done",
    "UNAUTHENTICATED": "`NotAllowed`, 4",
    "PERMISSION_DENIED": '`NotAllowed`, 4; "... or it may not exist" is `NotFound`, 2',
}
REFUSED = "`RequestRefused`, 2, with every field that is wrong"
PASSING = "`Unavailable`, 5"


def markdown() -> str:
    """The table for docs/targets.md, and what its words mean."""
    lines = [
        "| the service says | reading, polling | generating | changing | in the end: error, exit code |",
        "|---|---|---|---|---|",
    ]
    for code, row in ACTIONS.items():
        otherwise = REFUSED if row[Call.READ] is Action.REFUSE else PASSING
        cells = (code, *(row[call].value for call in Call), REMARKS.get(code, otherwise))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- *{action}*: {meaning}." for action, meaning in MEANINGS.items())]
    return "\n".join(lines) + "\n"


def jittered(seconds: float) -> float:
    """Return ``seconds`` give or take a fifth, so that many callers do not retry in step."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 -- nothing secret
