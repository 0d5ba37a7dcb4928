"""Endpoints, credentials and channels."""

from __future__ import annotations

import ipaddress
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from tuner.errors import InvalidInput, NotAllowed, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

    from tuner.types import TargetConfig

GOOGLE = "generativelanguage.googleapis.com"
GOOGLE_MTLS = "generativelanguage.mtls.googleapis.com"
DEFAULT_PORT = 443
LOCAL_PORT = 50051
MESSAGE_BYTES = 64 * 1024 * 1024
OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # reconnect to a restarted service within seconds; gRPC's default is up to two minutes
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5000),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a service, and whether it uses TLS."""

    host: str
    port: int
    tls: bool = True

    @property
    def is_google(self) -> bool:
        """Whether this is one of Google's own endpoints."""
        return self.host.endswith(".googleapis.com")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORT else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Connection:
    """An open channel with the credentials of its caller."""

    channel: grpc.aio.Channel
    endpoint: Endpoint
    identity: Identity
    kind: str

    @property
    def address(self) -> str:
        """The target and its endpoint, for messages: ``gemini (generativelanguage.googleapis.com)``."""
        return f"{self.kind} ({self.endpoint})"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The header with the API key; OAuth tokens are added by the channel."""
        return (("x-goog-api-key", self.identity.api_key),) if self.identity.api_key else ()


def parse_endpoint(text: str) -> Endpoint:
    """Parse ``host``, ``host:port`` or a URL, whose scheme decides whether TLS is used.

    Raises InvalidInput for anything else, and for ``http`` to another machine.
    """
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if not host or parts.scheme not in ("", "http", "https") or parts.path.strip("/"):
        raise _bad_endpoint(f"{text!r} is not an endpoint", "write it as host:port")
    local = is_loopback(host)
    if parts.scheme == "http" and not local:
        raise _bad_endpoint(f"{text} is not encrypted", f"use https://{host}")
    tls = parts.scheme == "https" or not local
    return Endpoint(host, port or (DEFAULT_PORT if tls else LOCAL_PORT), tls)


def is_loopback(host: str) -> bool:
    """Whether ``host`` is a loopback address or ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def google_endpoint() -> Endpoint:
    """Return Google's endpoint: the mTLS one if the environment requires it."""
    setting = os.environ.get("GOOGLE_API_USE_MTLS_ENDPOINT", "auto").strip().lower()
    if setting not in ("always", "auto", "never"):
        raise _bad_endpoint(
            f"GOOGLE_API_USE_MTLS_ENDPOINT is {setting!r}", "set it to always, auto or never"
        )
    mutual = setting == "always" or (setting == "auto" and client_certificate() is not None)
    return Endpoint(GOOGLE_MTLS if mutual else GOOGLE, DEFAULT_PORT)


def client_certificate() -> tuple[bytes, bytes] | None:
    """Return certificate and key in PEM, or None without GOOGLE_API_USE_CLIENT_CERTIFICATE.

    Raises NotAllowed if they cannot be read.
    """
    if os.environ.get("GOOGLE_API_USE_CLIENT_CERTIFICATE", "").strip().lower() != "true":
        return None
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport import mtls

    try:
        if not mtls.has_default_client_cert_source():
            return None
        certificate, key = mtls.default_client_cert_source()()
    except GoogleAuthError as error:
        raise NotAllowed(
            f"the client certificate cannot be used: {error}",
            "correct what GOOGLE_API_CERTIFICATE_CONFIG points to, or unset "
            "GOOGLE_API_USE_CLIENT_CERTIFICATE",
        ) from error
    return certificate, key


def connect(
    kind: str, endpoint: Endpoint, identity: Identity, roots: bytes | None = None
) -> Connection:
    """Open a channel; nothing is sent before the first call. Needs a running event loop.

    ``roots`` are the authorities to trust, in PEM; by default those that gRPC trusts.
    """
    import grpc

    target = f"{endpoint}:{DEFAULT_PORT}" if endpoint.port == DEFAULT_PORT else str(endpoint)
    if not endpoint.tls:
        channel = grpc.aio.insecure_channel(target, options=OPTIONS)
    elif identity.kind == "google":
        channel = _google_channel(target, endpoint.host, identity.credentials)
    else:
        channel = grpc.aio.secure_channel(target, _tls(roots), options=OPTIONS)
    return Connection(channel, endpoint, identity, kind)


def _google_channel(target: str, host: str, credentials: Any) -> grpc.aio.Channel:
    from google.api_core import grpc_helpers_async

    return grpc_helpers_async.create_channel(
        target, credentials=credentials, ssl_credentials=_tls(), default_host=host, options=OPTIONS
    )


def _tls(roots: bytes | None = None) -> grpc.ChannelCredentials:
    import grpc

    certificate, key = client_certificate() or (None, None)
    return grpc.ssl_channel_credentials(roots, private_key=key, certificate_chain=certificate)


def _bad_endpoint(what: str, fix: str) -> InvalidInput:
    return InvalidInput([Problem("", 0, 0, what, fix, rule="endpoint")])


SCOPES = (
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/generative-language.tuning",
)
LOGIN = "gcloud auth application-default login --client-id-file=CLIENT.json --scopes=" + ",".join(
    SCOPES
)
GOOGLE_KEYS = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
LOCAL_KEYS = ("TUNER_API_KEY",)


@dataclass(frozen=True, slots=True)
class Identity:
    """The credentials of the caller.

    Attributes:
        kind: ``key``: an API key; ``google``: OAuth tokens; ``none``: no credentials.
        source: Where it was found, for messages; never the secret itself.
    """

    kind: Literal["key", "google", "none"]
    source: str = ""
    api_key: str = ""
    credentials: Any = None

    def __repr__(self) -> str:
        return f"Identity({self.kind!r}, {self.source!r})"


ANONYMOUS = Identity("none")


def find_identity(config: TargetConfig) -> Identity:
    """Return credentials for Google; may use the network.

    Tries in this order: the API key variable or credentials file of the spec; Google credentials if
    impersonation, a quota project or GOOGLE_APPLICATION_CREDENTIALS require them; the usual API key
    variables; Application Default Credentials. Raises InvalidInput or NotAllowed.
    """
    if config.credentials_file and config.api_key_env:
        raise _exclusive("credentials_file", "api_key_env")
    if config.api_key_env and config.impersonate:
        raise _exclusive("api_key_env", "impersonate")
    if config.api_key_env:
        return named_key(config.api_key_env)
    named = config.credentials_file or config.impersonate or config.quota_project
    wants_google = named or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    key = None if wants_google else find_key(GOOGLE_KEYS)
    return key or _google_identity(config)


def find_key(variables: Sequence[str]) -> Identity | None:
    """Return the API key of the first of these environment variables that is set."""
    for variable in variables:
        key = os.environ.get(variable, "").strip()
        if key:
            return Identity("key", variable, key)
    return None


def named_key(variable: str) -> Identity:
    """Return the API key in the variable that ``api_key_env`` names. Raises NotAllowed."""
    found = find_key([variable])
    if found is None:
        raise NotAllowed(
            f"the environment variable {variable} (api_key_env) is empty or not set",
            f"export {variable}=... in this shell, or remove api_key_env from the target",
        )
    return found


def _google_identity(config: TargetConfig) -> Identity:
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials, source = _load(config)
    except (GoogleAuthError, OSError, ValueError) as error:
        raise _not_found(config, error) from error
    if config.impersonate:
        from google.auth import impersonated_credentials

        credentials = impersonated_credentials.Credentials(
            source_credentials=credentials,
            target_principal=config.impersonate,
            target_scopes=list(SCOPES),
            quota_project_id=config.quota_project or None,
        )
        source = f"{source} as {config.impersonate}"
    return Identity("google", source, credentials=credentials)


def _load(config: TargetConfig) -> tuple[Any, str]:
    import google.auth

    quota = config.quota_project or None
    with warnings.catch_warnings():
        # google-auth warns about quota projects and generic files; failed calls explain these
        warnings.simplefilter("ignore")
        if config.credentials_file:
            credentials, _ = google.auth.load_credentials_from_file(
                os.path.expanduser(config.credentials_file),  # noqa: PTH111 - google-auth wants str
                default_scopes=SCOPES,
                quota_project_id=quota,
            )
            return credentials, config.credentials_file
        credentials, _ = google.auth.default(default_scopes=SCOPES, quota_project_id=quota)
    return credentials, "Application Default Credentials"


def _not_found(config: TargetConfig, error: Exception) -> Exception:
    reason = str(error.args[0] if error.args else error).rstrip(".")
    if config.credentials_file:
        what = f"is not a usable credentials file: {reason}"
        fix = "give a service account key or the JSON file that gcloud's login wrote"
        return InvalidInput([Problem(config.credentials_file, 0, 0, what, fix, "credentials-file")])
    return NotAllowed(
        f"no credentials for Google were found: {reason}",
        f"export GEMINI_API_KEY=..., or set credentials_file, or run `{LOGIN}`; "
        "or use `target: local`, which needs none",
    )


def _exclusive(one: str, other: str) -> InvalidInput:
    what = f"{one} and {other} are mutually exclusive"
    return InvalidInput([Problem("", 0, 0, what, "keep one of them", "exclusive")])
