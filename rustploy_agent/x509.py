"""A program of its own: reads certificates on standard input and says what is in them. The only user of cryptography.

Own, because the library takes 11 MB of memory, and what it parses comes from outside. JSON in:
`[{"certificate": "<PEM chain, leaf first>", "key": "<PEM>" | null}]`; JSON out, one entry each:
`{"names": ["www.example.org"], "common_names": ["www.example.org"], "issuer": "<name>", "valid_from_unix_ms": 1,
"valid_until_unix_ms": 2, "certificate": "<PEM>", "key": "<PEM>" | null}` or
`{"field": "certificate" | "key", "problem": "<what is wrong>"}`.

The PEM that it answers is written anew from what it has parsed. Only that goes on: two programs may find different
certificates in one text.
"""

from __future__ import annotations

import datetime
import itertools
import json
import re
import sys
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

ONE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
MOST_IN_CHAIN = 10
#: Browsers refuse shorter keys, and Go's clients longer ones, which cost the server a second for each visitor.
SMALLEST_RSA, LARGEST_RSA = 2048, 8192
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
KEY_TYPES = f"RSA of {SMALLEST_RSA} to {LARGEST_RSA} bits, ECDSA on P-256, P-384 or P-521, or Ed25519"


class Wrong(Exception):
    """`field` is what is wrong with it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field, self.problem = field, problem


def main() -> int:
    json.dump([_told(item) for item in json.load(sys.stdin)], sys.stdout)
    return 0


def _told(item: dict[str, Any]) -> dict[str, Any]:
    try:
        chain = read_chain(item["certificate"])
        key = None if item["key"] is None else read_key(chain[0], item["key"])
        written = "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in chain)
        return about(chain[0]) | {"certificate": written, "key": key}
    except Wrong as wrong:
        return {"field": wrong.field, "problem": wrong.problem}


def read_chain(pem: str) -> list[x509.Certificate]:
    """Leaf first; each one must be issued by the next."""
    found = ONE.findall(pem.encode())
    if not found:
        raise Wrong("certificate", "is not a certificate in PEM (-----BEGIN CERTIFICATE-----)")
    if len(found) > MOST_IN_CHAIN:
        raise Wrong("certificate", f"has more than {MOST_IN_CHAIN} certificates")
    try:
        chain = [x509.load_pem_x509_certificate(one) for one in found]
    except ValueError as error:
        raise Wrong("certificate", f"cannot be read: {str(error)[:200]}") from None
    for lower, upper in itertools.pairwise(chain):
        if lower.issuer != upper.subject:
            raise Wrong("certificate", "must be the server's certificate followed by its issuers in order")
    _check_leaf(chain[0])
    return chain


def _check_leaf(leaf: x509.Certificate) -> None:
    """Wrong for what the library reads and the ingress may refuse, with all the other certificates."""
    try:
        key = leaf.public_key()
    except Exception:  # each release of the library has its own kinds
        raise Wrong("certificate", f"has a key of an unknown kind; use {KEY_TYPES}") from None
    _check_kind("certificate", key)
    if leaf.version is not x509.Version.v3 or leaf.serial_number <= 0:
        raise Wrong("certificate", "must be of version 3 and have a positive serial number")


def _check_kind(field: str, key: Any) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < SMALLEST_RSA:
            raise Wrong(field, f"is RSA with less than {SMALLEST_RSA} bits, which browsers refuse")
        good = key.key_size <= LARGEST_RSA
    elif isinstance(key, ec.EllipticCurvePublicKey):
        good = isinstance(key.curve, CURVES)
    else:
        good = isinstance(key, ed25519.Ed25519PublicKey)
    if not good:
        raise Wrong(field, f"has a kind of key that the ingress does not take; use {KEY_TYPES}")


def read_key(leaf: x509.Certificate, pem: str) -> str:
    """The key of this certificate as PEM (PKCS#8)."""
    try:
        key: Any = serialization.load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise Wrong("key", "is protected by a passphrase; give it without") from None
    except Exception:  # the library raises several kinds, some of which quote what they were given
        raise Wrong("key", "is not a private key in PEM") from None
    _check_kind("key", key.public_key())
    if _public(key.public_key()) != _public(leaf.public_key()):
        raise Wrong("key", "does not belong to the certificate")
    form = serialization.PrivateFormat.PKCS8
    written: bytes = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return written.decode()


def _public(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def about(leaf: x509.Certificate) -> dict[str, Any]:
    return {
        "names": _names(leaf),
        "common_names": [_plain(one.value) for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)],
        "issuer": leaf.issuer.rfc4514_string()[:500],
        "valid_from_unix_ms": _unix_ms(leaf.not_valid_before),
        "valid_until_unix_ms": _unix_ms(leaf.not_valid_after),
    }


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [_plain(name) for name in names.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        return []
    except Exception:  # an extension that stands twice, a name of an unknown kind
        raise Wrong("certificate", "has extensions or names that cannot be read") from None


def _plain(name: str | bytes) -> str:
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    return text.strip().lower()


def _unix_ms(naive: datetime.datetime) -> int:
    return int(naive.replace(tzinfo=datetime.UTC).timestamp() * 1000)


if __name__ == "__main__":
    sys.exit(main())
