"""Certificates as tests need them: right, wrong, expired."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    certificate: str
    key: str


#: A link that cryptography takes for one and Go does not, for it has a blank in the name of its host.
STRANGE_LINK = x509.UniformResourceIdentifier("https://a b/")


def issue(
    *names: str,
    begins: datetime.timedelta = -DAY,
    ends: datetime.timedelta = 30 * DAY,
    bits: int | None = None,
    key: Any = None,
    common_name: str = "tests",
    more: tuple[x509.GeneralName, ...] = (),
) -> Issued:
    """Self-signed for these names, valid from and to these distances from now; with RSA when bits are given."""
    if key is None:
        key = ec.generate_private_key(ec.SECP256R1()) if bits is None else rsa.generate_private_key(65537, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    alternatives = x509.SubjectAlternativeName([*(x509.DNSName(name) for name in names), *more])
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(alternatives, critical=False)
    )
    return Issued(_pem(builder.sign(key, digest)), key_pem(key))


def key_pem(key: Any, passphrase: bytes | None = None) -> str:
    hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    written: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    return written.decode()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
