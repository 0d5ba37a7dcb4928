"""`--dev-tls`: an authority of this home's own, with a certificate for this machine by its local names.

ca.pem         the authority, ten years; what clients are told to trust
ca.key         no name but localhost can it vouch for, whoever may get hold of it
localhost.pem  the certificate, renewed at a start that finds it near its end
localhost.key
"""

from __future__ import annotations

import ipaddress
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tuner.server.access.tls import Tls

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CA_LIFE = timedelta(days=3650)
LIFE = timedelta(days=397)  # some clients take nothing longer
RENEW_BEFORE = timedelta(days=60)
_SKEW = timedelta(hours=1)  # clocks differ, in containers above all
_ADDRESSES = ("127.0.0.1", "::1")


def ensure(folder: Path, now: datetime) -> Tls:
    """The files in ``folder``, made where they are missing, damaged or near their end.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = _pair(folder, "ca", now) or _new_authority(folder, now)
    own = _pair(folder, "localhost", now)
    if own is None or own[0].issuer != authority[0].subject:
        _new_certificate(folder, authority, now)
    return Tls(folder / "localhost.pem", folder / "localhost.key", ca=folder / "ca.pem")


def _pair(folder: Path, name: str, now: datetime) -> Any:
    """A certificate that lasts a while yet, with its key; None where there is none."""
    try:
        certificate = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
        content = (folder / f"{name}.key").read_bytes()
        key = serialization.load_pem_private_key(content, password=None)
    except (OSError, ValueError, TypeError):
        return None
    is_whole = key.public_key() == certificate.public_key()
    lasts = certificate.not_valid_after_utc - now > RENEW_BEFORE
    return (certificate, key) if is_whole and lasts else None


def _new_authority(folder: Path, now: datetime) -> Any:
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own each time: who trusts an old one should not get a signature that fails.
    name = _name(f"tuner serve --dev-tls {x509.random_serial_number():x}"[:40])
    # gRPC's BoringSSL fails on limits to addresses, so there is one to names alone.
    limits = x509.NameConstraints([x509.DNSName("localhost")], None)
    certificate = (
        _builder(name, name, key, now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(limits, critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _keep(folder, "ca", certificate, key)
    return certificate, key


def _new_certificate(folder: Path, authority: Any, now: datetime) -> None:
    issuer, issuer_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    addresses = [x509.IPAddress(ipaddress.ip_address(each)) for each in _ADDRESSES]
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    certificate = (
        _builder(_name("localhost"), issuer.subject, key, now, LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(identifier, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    _keep(folder, "localhost", certificate, key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(identifier, critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _keep(
    folder: Path, name: str, certificate: x509.Certificate, key: EllipticCurvePrivateKey
) -> None:
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(folder / f"{name}.key", secret, 0o600)
    _write(folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never for others to read for an instant."""
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    aside.replace(path)
