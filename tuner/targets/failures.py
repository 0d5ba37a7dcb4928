"""Convert failed calls to tuner's errors, with a fix for the user.

The message of the service is quoted first. The fix depends on the credentials and on whether the
service is Google's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.api_core import exceptions
from google.rpc import error_details_pb2

from tuner.errors import (
    AlreadyExists,
    NotAllowed,
    NotFound,
    RequestRefused,
    TunerError,
    Unavailable,
)
from tuner.targets import TARGETS
from tuner.targets.auth import LOGIN, SCOPES
from tuner.targets.retry import ACTIONS, Action, Call
from tuner.types import Feature

if TYPE_CHECKING:
    from tuner.targets.auth import Connection

Code = grpc.StatusCode
ERROR_CLASSES = {Code.NOT_FOUND: NotFound, Code.ALREADY_EXISTS: AlreadyExists}
AGAIN = "run the same command again later: nothing is done twice"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call, whichever library reported it."""

    code: grpc.StatusCode
    message: str
    details: tuple[Any, ...] = ()

    @property
    def reason(self) -> str:
        """The reason code of ErrorInfo, e.g. ``API_KEY_INVALID``; often empty."""
        info = self.detail(error_details_pb2.ErrorInfo)
        return info.reason if info else ""

    def detail(self, kind: type) -> Any:
        """Return the first detail of a type, or None."""
        return next((each for each in self.details if isinstance(each, kind)), None)

    @property
    def is_refused_token(self) -> bool:
        """Whether google-auth could not get a token; gRPC reports that as UNAVAILABLE."""
        return "Getting metadata from plugin failed" in self.message

    @property
    def is_hidden(self) -> bool:
        """Whether the resource is missing or another user's; Google answers both with this 403."""
        return self.code is Code.PERMISSION_DENIED and "may not exist" in self.message

    @property
    def is_lasting(self) -> bool:
        """Whether all calls fail until the configuration is corrected."""
        return "CERTIFICATE_VERIFY_FAILED" in self.message or "WRONG_VERSION_NUMBER" in self.message

    def is_repeated(self, call: Call) -> bool:
        """Whether the call is retried."""
        again = ACTIONS[self.code.name][call] is Action.RETRY
        return again and not self.is_refused_token and not self.is_lasting


def read_failure(error: exceptions.GoogleAPICallError | grpc.RpcError) -> Failure:
    """Read an error of Google's clients or of gRPC."""
    if isinstance(error, grpc.RpcError):
        error = exceptions.from_grpc_error(error)
    code = error.grpc_status_code or Code.UNKNOWN
    return Failure(code, str(error.message or "").strip(), tuple(error.details))


def explain(failure: Failure, connection: Connection) -> TunerError:
    """Return the error to raise for a failed call."""
    if failure.is_refused_token:
        reason = failure.message.partition("failed with error:")[2].strip() or failure.message
        what = f"no access token from {connection.identity.source}: {reason}"
        return NotAllowed(what, f"log in again: `{LOGIN}`, or set another credentials_file")
    if failure.is_hidden:
        fix = f"see `tuner models list`; if the name is right, {_access_fix(failure, connection)}"
        return NotFound(_said(failure, "not found"), fix)
    if failure.code in (Code.PERMISSION_DENIED, Code.UNAUTHENTICATED) or (
        failure.reason == "API_KEY_INVALID"
    ):
        return NotAllowed(_said(failure, "this is not allowed"), _access_fix(failure, connection))
    if "larger than max" in failure.message:
        return RequestRefused(
            "the request is larger than the service accepts", "tune on fewer or shorter examples"
        )
    if ACTIONS[failure.code.name][Call.READ] is Action.FAIL:
        return _refusal(failure)
    return _unavailable(failure, connection)


def _refusal(failure: Failure) -> TunerError:
    bad = failure.detail(error_details_pb2.BadRequest)
    violations = (
        [f"{each.field}: {each.description}" for each in bad.field_violations] if bad else []
    )
    lines = [_said(failure, f"the service returned {failure.code.name}")]
    lines += [line for line in violations if line not in lines[0]]
    help_ = failure.detail(error_details_pb2.Help)
    fix = f"see {help_.links[0].url}" if help_ and help_.links else _FIXES.get(failure.code, "")
    return ERROR_CLASSES.get(failure.code, RequestRefused)("\n  ".join(lines), fix)


_FIXES = {
    Code.NOT_FOUND: "`tuner models list` and `tuner ops list` show what exists",
    Code.UNIMPLEMENTED: "this service does not offer that method: check the endpoint",
}


def _unavailable(failure: Failure, connection: Connection) -> Unavailable:
    retry = failure.detail(error_details_pb2.RetryInfo)
    wait_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9 if retry else None
    if failure.code is Code.RESOURCE_EXHAUSTED:
        later = f"wait {wait_s:.0f} s, then " if wait_s else ""
        what = _said(failure, "out of quota")
        return Unavailable(what, f"{later}{AGAIN}", retry_after_s=wait_s, is_quota=True)
    if failure.code is Code.DEADLINE_EXCEEDED:
        return Unavailable(f"{connection.address} did not answer in time", AGAIN)
    what = f"{connection.address} is not available: {_said(failure, failure.code.name)}"
    fix = _connection_fix(failure, connection)
    return Unavailable(what, fix, retry_after_s=wait_s, is_passing=not failure.is_lasting)


def _connection_fix(failure: Failure, connection: Connection) -> str:
    address = str(connection.endpoint)
    closed = (
        "it may require a client certificate: see GOOGLE_API_USE_CLIENT_CERTIFICATE; or try again"
        if connection.endpoint.tls
        else f"if it uses TLS, write https://{address}; or try again"
    )
    fixes = {
        "WRONG_VERSION_NUMBER": f"this port does not use TLS: write http://{address} if it is on this machine",
        "CERTIFICATE_VERIFY_FAILED": "trust its certificate authority: export GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=CA.pem",
        "missing selected ALPN": "that port does not serve gRPC: use the port of `tuner serve --grpc`",
        "Socket closed": closed,
        "refused": f"start the service there (`tuner serve --grpc {address}`) and run the command again",
    }
    return next((fix for sign, fix in fixes.items() if sign in failure.message), AGAIN)


def lacking(connection: Connection) -> dict[Feature, str]:
    """Return the features that these credentials cannot use on this target, and why."""
    lacks = dict(TARGETS[connection.kind].cannot)
    if connection.endpoint.is_google and connection.identity.kind == "key":
        why = f"an API key ({connection.identity.source}) identifies a project, not a user"
        lacks |= {Feature.SHARING: why, Feature.TRANSFER: why}
    return lacks


def _access_fix(failure: Failure, connection: Connection) -> str:
    if not connection.endpoint.is_google:
        return _service_fix(failure, connection)
    if failure.reason == "SERVICE_DISABLED":
        return "enable generativelanguage.googleapis.com in that Google Cloud project"
    if failure.reason == "API_KEY_INVALID":
        return f"the key in {connection.identity.source} is wrong or expired: create a new one"
    if connection.identity.kind == "key":
        return (
            "an API key identifies a project, not a user: it can neither read nor share your "
            f"models; unset {connection.identity.source} and run `{LOGIN}`, or "
            "set credentials_file"
        )
    if "SCOPE" in failure.reason or "scope" in failure.message:
        return f"this login lacks a scope ({' and '.join(SCOPES)}): run `{LOGIN}`"
    return (
        f"calls are made with {connection.identity.source}; let the model's owner grant that "
        "account a role (`tuner permissions grant`), set quota_project if the message names a "
        "project, or use the credentials of the account that created the model"
    )


def _service_fix(failure: Failure, connection: Connection) -> str:
    if failure.code is not Code.PERMISSION_DENIED:
        return "export TUNER_API_KEY=...; `tuner keys create EMAIL` on the service's machine creates one"
    who = connection.identity.source
    return (
        f"the key in {who} has no permission for this: ask the model's owner for a higher role"
        if who
        else "ask the model's owner for a role"
    )


def _said(failure: Failure, otherwise: str) -> str:
    return failure.message.rstrip(".") or otherwise
