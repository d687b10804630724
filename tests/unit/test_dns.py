"""What an operator reads about a domain's DNS is true, in time, and says why."""

from __future__ import annotations

import ipaddress
import socket
import time

import pytest

from rustploy_agent import dns

pytestmark = pytest.mark.processes


def test_addresses_or_the_reason_why_there_are_none() -> None:
    found = dns.look_up(["localhost", "nothing.invalid"])
    assert "127.0.0.1" in found["localhost"]
    assert isinstance(found["nothing.invalid"], str)


def test_a_resolver_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def slow(host: str, *arguments: object, **options: object) -> object:
        if host == "slow.example.org":
            time.sleep(2)
        return real("127.0.0.1", 0)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(dns, "SECONDS", 0.3)
    begun = time.monotonic()
    found = dns.look_up(["slow.example.org", "quick.example.org"])
    assert time.monotonic() - begun < 1.5
    assert found == {"slow.example.org": "DNS did not answer within 0.3 s", "quick.example.org": ["127.0.0.1"]}


def test_own_addresses_are_addresses_and_not_loopback() -> None:
    for address in dns.own_addresses():
        assert not ipaddress.ip_address(address).is_loopback
