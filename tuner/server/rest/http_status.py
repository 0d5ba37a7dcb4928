"""Refusals as HTTP says them: a status, and google.rpc.Status as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import orjson

from tuner.server.refusals import Code, to_status
from tuner.server.rest import json_out

if TYPE_CHECKING:
    from tuner.server.refusals import Refused

JSON = "application/json; charset=UTF-8"
# As google/rpc/code.proto says beside each code.
STATUS = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}


def status(refused: Refused) -> int:
    """The HTTP status; google-api-core picks its exception by this alone."""
    return STATUS[Code(refused.code).name]


def headers(refused: Refused) -> list[tuple[str, str]]:
    """What a refusal adds to the response's headers."""
    if refused.retry_after_s is None:
        return []
    return [("retry-after", str(math.ceil(refused.retry_after_s)))]


def body(refused: Refused) -> bytes:
    """``{"error": {"code", "message", "status", "details"}}``; the code is HTTP's."""
    said = {
        "code": status(refused),
        "message": refused.message,
        "status": Code(refused.code).name,
        "details": json_out.plain(to_status(refused))["details"],
    }
    return orjson.dumps({"error": said})
