"""How a handler says no: one exception, turned into a google.rpc.Status by the doors.

Status codes and the shape of the details are Google's (AIP-193): exactly one ErrorInfo, then
BadRequest, QuotaFailure or RetryInfo where there is more to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

DOMAIN = "tuner"
# gRPC sends message and details as metadata: from 8 KiB on clients hear RESOURCE_EXHAUSTED instead.
MAX_VIOLATIONS = 16
MAX_MESSAGE_BYTES = 1500
MAX_FOREIGN_BYTES = 1000  # of a message that is not all ASCII: gRPC writes three bytes for each of its letters' bytes
MAX_TEXT_BYTES = 300
MAX_TEXTS_BYTES = 2400


class Code(IntEnum):
    """``google.rpc.Code``, as far as it is used."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that is wrong, named as in the request: ``tuned_model.temperature``."""

    field: str
    what: str


class Refused(Exception):
    """The call is answered with this status.

    ``reason`` is for programs: capital letters, stable. ``message`` is for people.
    """

    def __init__(  # noqa: PLR0913  (three to say, three to add)
        self,
        code: Code,
        message: str,
        reason: str,
        *,
        violations: Sequence[Violation] = (),
        quota: Sequence[Violation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        """Take what the status will say; the field of a ``quota`` is whose it is."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.violations = tuple(violations)
        self.quota = tuple(quota)
        self.retry_after_s = retry_after_s


def invalid(violations: Sequence[Violation], reason: str = "INVALID_FIELD") -> Refused:
    """Every wrong field at once; the message repeats them for those who read nothing else."""
    shown = violations[:MAX_VIOLATIONS]
    text = "; ".join(_cut(f"{each.field}: {each.what}") for each in shown)
    more = len(violations) - len(shown)
    message = f"{text}; and {more} more" if more else text
    return Refused(Code.INVALID_ARGUMENT, message, reason, violations=shown)


def invalid_field(field: str, what: str, reason: str = "INVALID_FIELD") -> Refused:
    """One wrong field."""
    return invalid([Violation(field, what)], reason)


def hidden(name: str) -> Refused:
    """The same words whether the model is hidden from the caller or does not exist."""
    return Refused(
        Code.PERMISSION_DENIED,
        f"You do not have permission to access {name} or it may not exist.",
        "HIDDEN_OR_MISSING",
    )


def missing(name: str, hint: str = "") -> Refused:
    """No such thing, said to somebody who could see it."""
    return Refused(Code.NOT_FOUND, f"{name} is not found{hint}.", "NOT_FOUND")


def to_status(refused: Refused) -> Any:
    """The google.rpc.Status of a refusal, small enough for metadata: a long message is cut off."""
    info = error_details_pb2.ErrorInfo(reason=refused.reason, domain=DOMAIN)
    details = [info, *_bad_request(refused), *_quota(refused), *_retry_info(refused)]
    most = MAX_MESSAGE_BYTES if refused.message.isascii() else MAX_FOREIGN_BYTES
    status = status_pb2.Status(code=refused.code, message=_cut(refused.message, most))
    status.details.extend(map(_packed, details))
    return status


def _bad_request(refused: Refused) -> list[Any]:
    violation = error_details_pb2.BadRequest.FieldViolation
    most = min(MAX_TEXT_BYTES, MAX_TEXTS_BYTES // max(1, len(refused.violations)))
    fields = [
        violation(field=each.field, description=_cut(each.what, most))
        for each in refused.violations
    ]
    return [error_details_pb2.BadRequest(field_violations=fields)] if fields else []


def _quota(refused: Refused) -> list[Any]:
    violation = error_details_pb2.QuotaFailure.Violation
    found = [violation(subject=each.field, description=_cut(each.what)) for each in refused.quota]
    return [error_details_pb2.QuotaFailure(violations=found)] if found else []


def _retry_info(refused: Refused) -> list[Any]:
    if refused.retry_after_s is None:
        return []
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(round(refused.retry_after_s * 1000))
    return [error_details_pb2.RetryInfo(retry_delay=delay)]


def _packed(message: Any) -> Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _cut(text: str, most_bytes: int = MAX_TEXT_BYTES) -> str:
    kept = text.encode()[:most_bytes].decode(errors="ignore")
    return text if kept == text else f"{kept}…"
