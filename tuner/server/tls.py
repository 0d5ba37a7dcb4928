"""TLS: the certificate files, their checks, renewal without a restart, and `--dev-tls`."""

from __future__ import annotations

import logging
import os
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import trustme
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from tuner.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

DEV_NAMES = ("localhost", "127.0.0.1", "::1")
DEV_VALIDITY = timedelta(days=825)  # some clients accept no longer one
DEV_RENEW_BEFORE = timedelta(days=60)
_CLOCK_SKEW = timedelta(hours=1)  # clocks differ, above all in containers
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files.

    Attributes:
        certificate: The service's, followed by those between it and its authority.
        client_ca: Clients must show a certificate of this authority; None requires none.
        ca: The authority that clients must trust, if `--dev-tls` made it.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    ca: Path | None = None


class RenewalWatcher:
    """Notices when certificate and key were replaced by another valid pair."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._loaded_version = self._version()

    def is_renewed(self) -> bool:
        """Return whether there is a new pair since the last call; called for every handshake."""
        try:
            version = self._version()
            if version == self._loaded_version:
                return False
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                self._tls.certificate, self._tls.key
            )
        except OSError:  # also ssl.SSLError: only one of the files is replaced yet
            return False
        self._loaded_version = version
        log.info("certificate renewed", extra={"certificate": str(self._tls.certificate)})
        return True

    def _version(self) -> tuple[int, ...]:
        found = [path.stat() for path in (self._tls.certificate, self._tls.key)]
        return tuple(number for each in found for number in (each.st_mtime_ns, each.st_ino))


def ensure_dev_tls(folder: Path, now: datetime) -> Tls:
    """Return a certificate for this machine's local names and its authority, made if necessary.

    Both are made again when a file is missing or damaged, or the certificate is about to expire.
    The authority's key is never written. Raises OSError.
    """
    tls = Tls(folder / "localhost.pem", folder / "localhost.key", ca=folder / "ca.pem")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_usable_dev_tls(tls, now):
        return tls
    authority = trustme.CA(path_length=0, organization_name="tuner serve --dev-tls")
    issued = authority.issue_cert(
        *DEV_NAMES, not_before=now - _CLOCK_SKEW, not_after=now + DEV_VALIDITY
    )
    _write(folder / "ca.pem", authority.cert_pem.bytes(), 0o644)
    _write(tls.key, issued.private_key_pem.bytes(), 0o600)
    _write(tls.certificate, issued.cert_chain_pems[0].bytes(), 0o644)
    return tls


def check_tls_files(tls: Tls, now: datetime) -> None:
    """Check the files before the service starts.

    Raises InvalidInput for all that are missing, not PEM, expired, readable by others or unfit.
    """
    certificates, problems = _read_certificates(tls.certificate, now)
    key, key_problems = _read_key(tls.key)
    problems += key_problems
    if certificates and key and certificates[0].public_key() != key.public_key():
        what = f"is not the key of {tls.certificate}"
        problems.append(_problem(tls.key, what, "name the key that belongs to this certificate"))
    if tls.client_ca:
        authorities, authority_problems = _read_certificates(tls.client_ca, now)
        problems += authority_problems
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        with suppress(x509.ExtensionNotFound, IndexError):
            extensions = authorities[0].extensions
            constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        if not authority_problems and not constraints.ca:
            fix = "name the certificate that signed those of the clients"
            problems.append(_problem(tls.client_ca, "is not the certificate of an authority", fix))
    if problems:
        raise InvalidInput(problems)


def _is_usable_dev_tls(tls: Tls, now: datetime) -> bool:
    try:
        check_tls_files(Tls(tls.certificate, tls.key, client_ca=tls.ca), now + DEV_RENEW_BEFORE)
        certificate, authority = (
            x509.load_pem_x509_certificate(path.read_bytes())
            for path in (tls.certificate, tls.ca or tls.certificate)
        )
        certificate.verify_directly_issued_by(authority)
    except (InvalidInput, InvalidSignature, OSError, TypeError, ValueError):
        return False
    return True


def _read_certificates(path: Path, now: datetime) -> tuple[list[x509.Certificate], list[Problem]]:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        return [], [_unreadable(path, error)]
    except ValueError:
        fix = "name the file with BEGIN CERTIFICATE"
        return [], [_problem(path, "has no certificate in PEM", fix)]
    end, start = found[0].not_valid_after_utc, found[0].not_valid_before_utc
    if now >= end:
        return found, [_problem(path, f"expired on {end:%Y-%m-%d}", "renew it")]
    if now < start:
        what = f"is not valid before {start:%Y-%m-%d %H:%M} UTC"
        return found, [_problem(path, what, "wait until then, or correct this machine's clock")]
    return found, []


def _read_key(path: Path) -> tuple[Any, list[Problem]]:
    try:
        content, status = path.read_bytes(), path.stat()
    except OSError as error:
        return None, [_unreadable(path, error)]
    # A group may read a key that root owns, as in PostgreSQL.
    forbidden = 0o027 if status.st_uid == 0 and os.geteuid() != 0 else 0o077
    if status.st_mode & forbidden:
        return None, [_problem(path, "is secret, but others can read it", f"chmod 600 {path}")]
    try:
        return serialization.load_pem_private_key(content, password=None), []
    except TypeError:
        fix = f"write it without one: openssl pkey -in {path} -out NEW.key; chmod 600 NEW.key"
        return None, [_problem(path, "is protected by a passphrase", fix)]
    except ValueError:
        fix = "name the file with PRIVATE KEY"
        return None, [_problem(path, "has no private key in PEM", fix)]


def _unreadable(path: Path, error: OSError) -> Problem:
    return _problem(path, str(error.strerror), "name a file that this account may read")


def _problem(path: Path, what: str, fix: str) -> Problem:
    return Problem(str(path), 0, 0, what, fix)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace the file atomically; it is readable by its owner only at all times."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    temporary.replace(path)
