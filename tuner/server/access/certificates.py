"""Whether certificates and keys will do, told before anything starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tuner.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from tuner.server.access.tls import Tls


def check(tls: Tls, now: datetime) -> None:
    """Read the files as a handshake will.

    Raises:
        InvalidInput: Every file that is missing, no PEM, expired, for others to read or unfit.
    """
    certificate, wrong = _certificates(tls.certificate, now)
    key, wrong_key = _key(tls.key)
    problems = [*wrong, *wrong_key]
    if certificate and key and certificate[0].public_key() != key.public_key():
        what = f"is not the key of {tls.certificate}"
        problems.append(_problem(tls.key, what, "give the key that this certificate was made for"))
    problems += _client_ca(tls.client_ca, now) if tls.client_ca else []
    if problems:
        raise InvalidInput(problems)


def _certificates(path: Path, now: datetime) -> tuple[list[x509.Certificate], list[Problem]]:
    """What is in a file; only the first one's time matters here."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        return [], [_unreadable(path, error)]
    except ValueError:
        return [], [
            _problem(path, "holds no certificate in PEM", "name the file with BEGIN CERTIFICATE")
        ]
    ends, begins = found[0].not_valid_after_utc, found[0].not_valid_before_utc
    if now >= ends:
        return found, [_problem(path, f"expired on {ends:%Y-%m-%d}", "renew it")]
    if now < begins:
        what = f"is not valid before {begins:%Y-%m-%d %H:%M} UTC"
        return found, [_problem(path, what, "wait until then, or set this machine's clock")]
    return found, []


def _key(path: Path) -> tuple[Any, list[Problem]]:
    try:
        content, status = path.read_bytes(), path.stat()
    except OSError as error:
        return None, [_unreadable(path, error)]
    if status.st_mode & _forbidden(status.st_uid):
        return None, [
            _problem(path, "can be read by others, and it is a secret", f"chmod 600 {path}")
        ]
    try:
        return serialization.load_pem_private_key(content, password=None), []
    except TypeError:
        fix = f"openssl pkey -in {path} -out NEW.key writes it without one; keep that at mode 600"
        return None, [_problem(path, "is locked with a passphrase", fix)]
    except ValueError:
        return None, [
            _problem(path, "holds no private key in PEM", "name the file with PRIVATE KEY")
        ]


def _forbidden(owner: int) -> int:
    """The bits that must not be set: root may let a group read a key, as PostgreSQL has it too."""
    return 0o027 if owner == 0 and os.geteuid() != 0 else 0o077


def _client_ca(path: Path, now: datetime) -> list[Problem]:
    found, problems = _certificates(path, now)
    if problems:
        return problems
    try:
        is_authority = found[0].extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if is_authority:
        return []
    fix = "name the certificate that signed those of the callers"
    return [_problem(path, "is the certificate of no authority", fix)]


def _unreadable(path: Path, error: OSError) -> Problem:
    return _problem(path, str(error.strerror), "name a file that this account may read")


def _problem(path: Path, what: str, fix: str) -> Problem:
    return Problem(str(path), 0, 0, what, fix)
