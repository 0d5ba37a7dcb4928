"""How much one caller may ask of the service at a time, and what a caller hears who wants more."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.server.refusals import Code, Refused, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.server.access.identity import Caller

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a service takes; a key is one of `tuner keys`, everybody without keys is one.

    Attributes:
        message_bytes: Of one request.
        in_flight: Calls of one key that are being answered.
        queued: Tunings of one key that wait or run.
    """

    message_bytes: int = 64 * MEBIBYTE
    in_flight: int = 256
    queued: int = 1000


class InFlight:
    """Counts the calls of every key."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()

    @contextmanager
    def call(self, caller: Caller, most: int) -> Iterator[None]:
        """One call is being answered until the end of the block. Raises Refused."""
        if self._calls[caller.key_id] >= most:
            what = f"{most} calls are in flight, and that is the limit"
            fix = "wait for some of them, or start the service with a higher --max-in-flight"
            raise _exhausted(caller, what, fix, "TOO_MANY_CALLS", retry_after_s=1.0)
        self._calls[caller.key_id] += 1
        try:
            yield
        finally:
            self._calls[caller.key_id] -= 1
            if not self._calls[caller.key_id]:
                del self._calls[caller.key_id]


def queue_full(caller: Caller, most: int) -> Refused:
    """One more tuning than a key may have waiting."""
    what = f"{most} tunings wait or run, and that is the limit"
    fix = "wait until one ends, or start the service with a higher --max-queued"
    return _exhausted(caller, what, fix, "QUEUE_FULL", retry_after_s=60.0)


def too_large(size: int | None, limits: Limits) -> Refused:
    """A request of ``size`` bytes, or of more than anybody cared to read."""
    limit = f"{limits.message_bytes} bytes are the limit"
    what = (
        f"the request has {size} bytes, and {limit}"
        if size
        else f"the request is too large: {limit}"
    )
    fix = "send fewer examples, or start the service with a higher --max-message-mb"
    return _exhausted(None, what, fix, "TOO_LARGE", retry_after_s=60.0)


def _exhausted(
    caller: Caller | None, what: str, fix: str, reason: str, retry_after_s: float
) -> Refused:
    subject = f"key:{caller.key_id}" if caller and caller.key_id else "service"
    return Refused(
        Code.RESOURCE_EXHAUSTED,
        f"{what[0].upper()}{what[1:]}: {fix}.",
        reason,
        quota=[Violation(subject, what)],
        retry_after_s=retry_after_s,
    )
