"""TLS for both doors: which files, and a certificate renewed on disk served without a restart."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM.

    Attributes:
        certificate: Ours, and after it those between it and its authority.
        key: The private key of it, without a passphrase.
        client_ca: Who connects must show a certificate of these authorities; None asks for none.
        ca: The authority that callers must be told to trust, where we made it ourselves.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    ca: Path | None = None


class Renewals:
    """Notices that certificate and key were replaced by another pair that fits."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._seen = self._stamp()

    def found(self) -> bool:
        """Whether there is a new pair since the last time; asked at every handshake."""
        try:
            stamp = self._stamp()
        except OSError:
            return False  # between the old file and the new one
        if stamp == self._seen:
            return False
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                self._tls.certificate, self._tls.key
            )
        except (OSError, ssl.SSLError):
            return False  # one file is new, the other is not yet
        self._seen = stamp
        log.info("certificate renewed", extra={"certificate": str(self._tls.certificate)})
        return True

    def _stamp(self) -> tuple[int, ...]:
        found = [path.stat() for path in (self._tls.certificate, self._tls.key)]
        return tuple(number for each in found for number in (each.st_mtime_ns, each.st_ino))


def grpc_credentials(tls: Tls) -> Any:
    """What ``add_secure_port`` of a gRPC server wants."""
    renewals = Renewals(tls)

    def renewed() -> Any:
        return _configuration(tls) if renewals.found() else None

    return grpc.dynamic_ssl_server_credentials(
        _configuration(tls), renewed, require_client_authentication=tls.client_ca is not None
    )


def http_options(tls: Tls) -> dict[str, Any]:
    """What uvicorn's Config wants."""
    files = {"ssl_certfile": str(tls.certificate), "ssl_keyfile": str(tls.key)}
    if tls.client_ca is None:
        return files
    return files | {"ssl_ca_certs": str(tls.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}


def renew(context: ssl.SSLContext, tls: Tls) -> None:
    """Let ``context``, made of ``tls``, serve what is renewed: from the handshake after the next."""
    renewals = Renewals(tls)

    def before_handshake(*_: object) -> None:
        if renewals.found():
            context.load_cert_chain(tls.certificate, tls.key)

    context.sni_callback = before_handshake


def _configuration(tls: Tls) -> Any:
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    roots = tls.client_ca.read_bytes() if tls.client_ca else None
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)
