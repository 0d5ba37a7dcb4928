"""A certificate authority for one test run, with a server and a client it vouches for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


def authority_and_pairs(*names: str) -> tuple[bytes, list[Pair]]:
    """The authority's certificate, and a pair for each name."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = _name("tests")
    authority = _builder(issuer, issuer, key).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    pairs = []
    for name in names:
        own = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([x509.DNSName(name)])
        builder = _builder(_name(name), issuer, own).add_extension(alternative, critical=False)
        pairs.append(Pair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(own)))
    return _pem(authority.sign(key, hashes.SHA256())), pairs


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
