"""The errors a call is answered with: one exception, and the google.rpc.Status it becomes.

Status codes and details follow Google's AIP-193: exactly one ErrorInfo, then BadRequest, QuotaFailure
or RetryInfo where they apply.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DOMAIN = "tuner"
MAX_VIOLATIONS = 16
# gRPC sends message and details as metadata. Above 8 KiB clients see RESOURCE_EXHAUSTED instead.
_MAX_MESSAGE_BYTES = 1500
_MAX_NON_ASCII_MESSAGE_BYTES = 1000  # gRPC percent-encodes each byte as three
_MAX_DESCRIPTION_BYTES = 300
_MAX_DESCRIPTIONS_BYTES = 2400


class Code(IntEnum):
    """The ``google.rpc.Code`` values in use."""

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
    """An invalid field, named as in the request: ``tuned_model.temperature``."""

    field: str
    what: str


class ApiError(Exception):
    """Ends a call with a status.

    Attributes:
        message: Text for people.
        reason: A stable word in capitals for programs.
        violations: The invalid fields.
        quota: The exceeded limits; ``field`` names whose limit it is.
        retry_after_s: When a retry may succeed.
    """

    def __init__(  # noqa: PLR0913  (three are required, three are details)
        self,
        code: Code,
        message: str,
        reason: str,
        *,
        violations: Sequence[Violation] = (),
        quota: Sequence[Violation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.violations = tuple(violations)
        self.quota = tuple(quota)
        self.retry_after_s = retry_after_s


def invalid(violations: Sequence[Violation], reason: str = "INVALID_FIELD") -> ApiError:
    """Return INVALID_ARGUMENT for all invalid fields; the message repeats them."""
    shown = violations[:MAX_VIOLATIONS]
    text = "; ".join(_cut(f"{each.field}: {each.what}") for each in shown)
    more = len(violations) - len(shown)
    message = f"{text}; and {more} more" if more else text
    return ApiError(Code.INVALID_ARGUMENT, message, reason, violations=shown)


def invalid_field(field: str, what: str, reason: str = "INVALID_FIELD") -> ApiError:
    """Return INVALID_ARGUMENT for one invalid field."""
    return invalid([Violation(field, what)], reason)


def hidden(name: str) -> ApiError:
    """Return the one answer for a model that is hidden from the caller or does not exist."""
    return ApiError(
        Code.PERMISSION_DENIED,
        f"You do not have permission to access {name} or it may not exist.",
        "HIDDEN_OR_MISSING",
    )


def not_found(name: str, hint: str = "") -> ApiError:
    """Return NOT_FOUND, for callers who could see ``name`` if it existed."""
    return ApiError(Code.NOT_FOUND, f"{name} is not found{hint}.", "NOT_FOUND")


def to_status(error: ApiError) -> Any:
    """Return the google.rpc.Status of an error; long texts are cut to fit into gRPC metadata."""
    is_ascii = error.message.isascii()
    max_bytes = _MAX_MESSAGE_BYTES if is_ascii else _MAX_NON_ASCII_MESSAGE_BYTES
    status = status_pb2.Status(code=error.code, message=_cut(error.message, max_bytes))
    for detail in _details(error):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _details(error: ApiError) -> Iterator[Any]:
    yield error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    if error.violations:
        max_bytes = min(_MAX_DESCRIPTION_BYTES, _MAX_DESCRIPTIONS_BYTES // len(error.violations))
        yield error_details_pb2.BadRequest(
            field_violations=[
                {"field": each.field, "description": _cut(each.what, max_bytes)}
                for each in error.violations
            ]
        )
    if error.quota:
        violations = [
            {"subject": each.field, "description": _cut(each.what)} for each in error.quota
        ]
        yield error_details_pb2.QuotaFailure(violations=violations)
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(error.retry_after_s * 1000))
        yield error_details_pb2.RetryInfo(retry_delay=delay)


def _cut(text: str, max_bytes: int = _MAX_DESCRIPTION_BYTES) -> str:
    kept = text.encode()[:max_bytes].decode(errors="ignore")
    return text if kept == text else f"{kept}…"
