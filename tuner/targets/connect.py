"""A channel to an endpoint: TLS everywhere, plaintext on loopback alone.

Client certificates follow AIP-4114: GOOGLE_API_USE_CLIENT_CERTIFICATE says whether to show one,
GOOGLE_API_USE_MTLS_ENDPOINT which of Google's two names to call.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tuner.errors import InvalidInput, NotAllowed, Problem

if TYPE_CHECKING:
    import grpc

    from tuner.targets.credentials import Identity

GOOGLE = "generativelanguage.googleapis.com"
GOOGLE_MTLS = "generativelanguage.mtls.googleapis.com"
DEFAULT_PORT = 443
LOCAL_PORT = 50051
MESSAGE_BYTES = 64 * 1024 * 1024
OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # a service that comes back should be noticed in seconds, not gRPC's two minutes
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5000),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service listens, and whether we speak TLS to it."""

    host: str
    port: int
    tls: bool = True

    @property
    def is_google(self) -> bool:
        """Whether it is one of Google's own."""
        return self.host.endswith(".googleapis.com")

    def __str__(self) -> str:
        """``host:port`` as gRPC takes it; without the port where that says nothing."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORT else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Connection:
    """An open channel, who we are on it, and what to send with every call."""

    channel: grpc.aio.Channel
    endpoint: Endpoint
    identity: Identity
    kind: str

    @property
    def address(self) -> str:
        """For people: ``gemini (generativelanguage.googleapis.com)``."""
        return f"{self.kind} ({self.endpoint})"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The API key; tokens are the channel's own business."""
        return (("x-goog-api-key", self.identity.api_key),) if self.identity.api_key else ()


def parse_endpoint(text: str) -> Endpoint:
    """``host``, ``host:port`` or a URL as an Endpoint; a scheme overrules our choice of TLS.

    Raises:
        InvalidInput: It is none of these, or plaintext was asked for beyond loopback.
    """
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if not host or parts.scheme not in ("", "http", "https") or parts.path.strip("/"):
        raise _bad_endpoint(f"{text!r} is no endpoint", "write it as host:port")
    local = is_loopback(host)
    if parts.scheme == "http" and not local:
        raise _bad_endpoint(f"{text} would send everything in the clear", f"use https://{host}")
    tls = parts.scheme == "https" or not local
    return Endpoint(host, port or (DEFAULT_PORT if tls else LOCAL_PORT), tls)


def is_loopback(host: str) -> bool:
    """Whether packets to ``host`` stay on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def google_endpoint() -> Endpoint:
    """Google's endpoint, the mTLS one where the environment or a client certificate asks for it."""
    wish = os.environ.get("GOOGLE_API_USE_MTLS_ENDPOINT", "auto").strip().lower()
    if wish not in ("always", "auto", "never"):
        raise _bad_endpoint(
            f"GOOGLE_API_USE_MTLS_ENDPOINT is {wish!r}", "set it to always, auto or never"
        )
    mutual = wish == "always" or (wish == "auto" and client_certificate() is not None)
    return Endpoint(GOOGLE_MTLS if mutual else GOOGLE, DEFAULT_PORT)


def client_certificate() -> tuple[bytes, bytes] | None:
    """Certificate and key in PEM, when GOOGLE_API_USE_CLIENT_CERTIFICATE is true and there are any.

    Raises:
        NotAllowed: There is one, and it cannot be read.
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
            "mend what GOOGLE_API_CERTIFICATE_CONFIG points to, or unset "
            "GOOGLE_API_USE_CLIENT_CERTIFICATE",
        ) from error
    return certificate, key


def connect(
    kind: str, endpoint: Endpoint, identity: Identity, roots: bytes | None = None
) -> Connection:
    """Open a channel; nothing is sent before the first call. Needs a running event loop.

    ``roots`` are the authorities to trust, PEM; without, those that gRPC knows and
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH names.
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
    """TLS with tokens that google-auth renews."""
    from google.api_core import grpc_helpers_async

    return grpc_helpers_async.create_channel(
        target,
        credentials=credentials,
        ssl_credentials=_tls(),
        default_host=host,
        options=OPTIONS,
    )


def _tls(roots: bytes | None = None) -> grpc.ChannelCredentials:
    import grpc

    certificate, key = client_certificate() or (None, None)
    return grpc.ssl_channel_credentials(roots, private_key=key, certificate_chain=certificate)


def _bad_endpoint(what: str, fix: str) -> InvalidInput:
    return InvalidInput([Problem("", 0, 0, what, fix, rule="endpoint")])
