"""What browsers would refuse must be refused before a domain uses it, with the field that is wrong."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from rustploy_agent import certificates
from rustploy_agent.certificates import Certificate, Unusable
from rustploy_agent.errors import InvalidRequest
from tests.unit.certificate_authority import DAY, Issued, issue, key_pem

pytestmark = pytest.mark.processes
NAME = "www.example.org"


def refused(certificate: str, key: str, name: str = NAME) -> tuple[str, str]:
    with pytest.raises(Unusable) as caught:
        certificates.check(name, certificate, key)
    return caught.value.field, caught.value.problem


@pytest.fixture(scope="module")
def good() -> Issued:
    return issue(NAME, "*.example.net")


def test_a_right_pair_is_read(good: Issued) -> None:
    found = certificates.check(NAME, good.certificate, good.key)
    assert found.names == (NAME, "*.example.net")
    assert found.issuer == "CN=tests"
    assert found.valid_until_unix_ms - found.valid_from_unix_ms == 31 * 86_400_000


def test_the_key_of_another_certificate_is_refused(good: Issued) -> None:
    assert refused(good.certificate, issue(NAME).key) == ("key", "does not belong to the certificate")


def test_another_name_is_refused(good: Issued) -> None:
    field, problem = refused(good.certificate, good.key, "mail.example.org")
    assert (field, problem) == ("certificate", f"covers {NAME}, *.example.net, not mail.example.org")


@pytest.mark.parametrize(
    ("begins", "ends", "problem"), [(-2 * DAY, -DAY, "has expired"), (DAY, 2 * DAY, "is not valid yet")]
)
def test_one_that_is_not_valid_now_is_refused(begins: object, ends: object, problem: str) -> None:
    wrong = issue(NAME, begins=begins, ends=ends)  # type: ignore[arg-type]
    assert refused(wrong.certificate, wrong.key) == ("certificate", problem)


def test_weak_and_locked_and_broken_keys_are_refused(good: Issued) -> None:
    weak = issue(NAME, bits=1024)
    assert refused(weak.certificate, weak.key)[1].startswith("is RSA with less than 2048 bits")
    locked = key_pem(ec.generate_private_key(ec.SECP256R1()), b"secret")
    assert refused(good.certificate, locked) == ("key", "is protected by a passphrase; give it without")
    assert refused(good.certificate, good.key.replace("MIG", "XXX")) == ("key", "is not a private key in PEM")


def test_what_is_used_is_written_by_us(good: Issued) -> None:
    """Else the ingress finds another certificate in a text than we do, and shows it to another app's visitors."""
    other = issue("victim.example.org")
    found = certificates.check(NAME, f"x{good.certificate}{other.certificate}", f"note\n{good.key}note")
    assert (found.chain, found.key) == (good.certificate + other.certificate, good.key)
    assert certificates.written(f"x{good.certificate}", good.key) == dataclasses.astuple(good)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        *(ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=lambda key: f"{type(key).__name__.strip('_')}-{getattr(key, 'key_size', '')}",
)
def test_these_kinds_of_keys_are_taken(key: Any) -> None:
    pair = issue(NAME, key=key)
    assert certificates.check(NAME, pair.certificate, pair.key).key == pair.key


@pytest.mark.parametrize(
    "key",
    [
        *(ec.generate_private_key(curve()) for curve in (ec.BrainpoolP256R1, ec.SECP256K1, ec.SECP224R1)),
        dsa.generate_private_key(2048),
        ed448.Ed448PrivateKey.generate(),
    ],
    ids=lambda key: getattr(key, "curve", key).__class__.__name__,
)
def test_keys_that_the_ingress_does_not_take_are_refused(key: Any) -> None:
    """Else it refuses all of its configuration, and every other app's next change as well."""
    pair = issue(NAME, key=key)
    field, problem = refused(pair.certificate, pair.key)
    assert field == "certificate" and "P-256, P-384 or P-521, or Ed25519" in problem


def test_a_pair_that_the_ingress_refused_is_not_given_to_it_again(good: Issued) -> None:
    pair = issue("refused.example.org")
    assert certificates.written(pair.certificate, pair.key) == dataclasses.astuple(pair)
    certificates.refuse(pair.certificate, pair.key, "x509: cannot parse it")
    with pytest.raises(Unusable, match="is refused by the ingress: x509: cannot parse it"):
        certificates.written(pair.certificate, pair.key)
    assert certificates.written(good.certificate, good.key) == dataclasses.astuple(good)


def test_a_chain_out_of_order_is_refused(good: Issued) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    leaf, key = x509.load_pem_x509_certificate(good.certificate.encode()), ec.generate_private_key(ec.SECP256R1())
    stranger = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody else")])
    other = (
        x509.CertificateBuilder(stranger, stranger, key.public_key(), 1, leaf.not_valid_before, leaf.not_valid_after)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    field, problem = refused(good.certificate + other, good.key)
    assert field == "certificate" and "in order" in problem


@pytest.mark.parametrize("pem", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])
def test_what_is_no_certificate_is_refused(pem: str, good: Issued) -> None:
    assert refused(pem, good.key)[0] == "certificate"


def test_several_are_read_at_once_and_one_that_is_wrong_spoils_none(good: Issued) -> None:
    first, second = certificates.read([("nonsense", None), (good.certificate, None)])
    assert isinstance(first, Unusable)
    assert isinstance(second, Certificate)


@pytest.mark.parametrize(
    ("name", "covered"),
    [("a.example.net", True), ("example.net", False), ("a.b.example.net", False), ("*.example.net", True)],
)
def test_a_wildcard_stands_for_one_label(name: str, covered: bool) -> None:
    assert Certificate(("*.example.net",), "x", 0, 2**50).covers(name) is covered


class TestFiles:
    @pytest.fixture
    def pair(self, tmp_path: Path, good: Issued) -> tuple[Path, Path]:
        certificate, key = tmp_path / "chain.pem", tmp_path / "key.pem"
        certificate.write_text(good.certificate)
        key.write_text(good.key)
        key.chmod(0o640)
        return certificate, key

    def test_they_are_read(self, pair: tuple[Path, Path], good: Issued) -> None:
        assert dataclasses.astuple(good) == certificates.read_files(str(pair[0]), str(pair[1]))

    @pytest.mark.parametrize("mode", [0o644, 0o604, 0o641])
    def test_a_key_that_everybody_can_read_is_refused(self, pair: tuple[Path, Path], mode: int) -> None:
        pair[1].chmod(mode)
        with pytest.raises(InvalidRequest, match="key_path: is open to every user"):
            certificates.read_files(str(pair[0]), str(pair[1]))

    def test_a_key_that_another_group_can_read_is_refused(self, pair: tuple[Path, Path]) -> None:
        os.chown(pair[1], -1, 12345)
        with pytest.raises(InvalidRequest, match="key_path: is open to another group"):
            certificates.read_files(str(pair[0]), str(pair[1]))

    def test_what_is_no_file_is_refused_without_waiting_for_it(self, pair: tuple[Path, Path], tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for wrong in (tmp_path / "pipe", tmp_path, tmp_path / "nothing"):
            with pytest.raises(InvalidRequest, match="cert_path"):
                certificates.read_files(str(wrong), str(pair[1]))

    def test_a_huge_file_is_not_taken(self, pair: tuple[Path, Path], good: Issued) -> None:
        pair[0].write_text(good.certificate + "x" * certificates.LARGEST_PEM)
        with pytest.raises(InvalidRequest, match="cert_path: must be PEM"):
            certificates.read_files(str(pair[0]), str(pair[1]))
