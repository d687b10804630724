"""A program of its own: reads certificates on standard input and says what is in them. The only user of cryptography.

Own, because the library takes 11 MB of memory, and what it parses comes from outside. JSON in:
`[{"certificate": "<PEM chain, leaf first>", "key": "<PEM>" | null}]`; JSON out, one entry each:
`{"names": ["www.example.org"], "issuer": "<name>", "valid_from_unix_ms": 1, "valid_until_unix_ms": 2}` or
`{"field": "certificate" | "key", "problem": "<what is wrong>"}`.
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
from cryptography.hazmat.primitives.asymmetric import rsa

ONE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
MOST_IN_CHAIN, SMALLEST_RSA = 10, 2048


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
        if item["key"] is not None:
            check_key(chain[0], item["key"])
        return about(chain[0])
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
    return chain


def check_key(leaf: x509.Certificate, pem: str) -> None:
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise Wrong("key", "is protected by a passphrase; give it without") from None
    except Exception:  # the library raises several kinds, some of which quote what they were given
        raise Wrong("key", "is not a private key in PEM") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < SMALLEST_RSA:
        raise Wrong("key", f"is RSA with less than {SMALLEST_RSA} bits, which browsers refuse")
    if _public(key.public_key()) != _public(leaf.public_key()):
        raise Wrong("key", "does not belong to the certificate")


def _public(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def about(leaf: x509.Certificate) -> dict[str, Any]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        covered = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    except (x509.ExtensionNotFound, ValueError):
        covered = []
    return {
        "names": covered,
        "issuer": leaf.issuer.rfc4514_string()[:500],
        "valid_from_unix_ms": _unix_ms(leaf.not_valid_before),
        "valid_until_unix_ms": _unix_ms(leaf.not_valid_after),
    }


def _unix_ms(naive: datetime.datetime) -> int:
    return int(naive.replace(tzinfo=datetime.UTC).timestamp() * 1000)


if __name__ == "__main__":
    sys.exit(main())
