"""What is done after a failed call: every status code, by what the call was for.

After AIP-194: only UNAVAILABLE is repeated as it is, and only where that changes nothing.
"""

from __future__ import annotations

from enum import StrEnum

import grpc

Code = grpc.StatusCode


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
    Code.UNAVAILABLE: _row(Action.AGAIN, Action.LOOK),
    Code.RESOURCE_EXHAUSTED: _row(Action.WAIT, Action.WAIT),
    Code.DEADLINE_EXCEEDED: _LOOK,
    Code.INTERNAL: _LOOK,
    Code.UNKNOWN: _LOOK,
    Code.ABORTED: _LOOK,
    Code.DATA_LOSS: _LOOK,
    Code.CANCELLED: _LOOK,
    Code.ALREADY_EXISTS: _row(Action.REFUSE, Action.LOOK),
    Code.NOT_FOUND: _REFUSE,
    Code.UNAUTHENTICATED: _REFUSE,
    Code.PERMISSION_DENIED: _REFUSE,
    Code.INVALID_ARGUMENT: _REFUSE,
    Code.FAILED_PRECONDITION: _REFUSE,
    Code.OUT_OF_RANGE: _REFUSE,
    Code.UNIMPLEMENTED: _REFUSE,
}
REMARKS = {
    Code.RESOURCE_EXHAUSTED: "`Unavailable`, 5, when a run's time is over or nothing waits",
    Code.ALREADY_EXISTS: "a model or a permission that is as asked for was made by us; else `AlreadyExists`, 2",
    Code.NOT_FOUND: "`NotFound`, 2; before a create it means: not there yet; after a delete: done",
    Code.UNAUTHENTICATED: "`NotAllowed`, 4",
    Code.PERMISSION_DENIED: '`NotAllowed`, 4; "... or it may not exist" is `NotFound`, 2',
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
        cells = (code.name, *(row[call].value for call in Call), REMARKS.get(code, otherwise))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- *{action}*: {meaning}." for action, meaning in MEANINGS.items())]
    return "\n".join(lines) + "\n"
