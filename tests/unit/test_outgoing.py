"""Which addresses a request may go to that somebody else chose."""

from __future__ import annotations

import ipaddress

import pytest

from rustploy_agent import outgoing


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 127.8.8.8 0.0.0.0 10.1.2.3 172.16.0.1 192.168.0.1 169.254.169.254 100.64.0.1 224.0.0.1 255.255.255.255 "
    "::1 :: fe80::1 fd00:ec2::254 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:7f00:1::".split(),
)
def test_what_is_not_public_is_refused(address: str) -> None:
    """Else whoever names an address reaches this host's own services through us."""
    assert not outgoing.is_allowed(ipaddress.ip_address(address), ["example.org", "10.9.0.0/16"])
    assert outgoing.is_allowed(ipaddress.ip_address("8.8.8.8"), [])


def test_a_range_allows_its_addresses_however_they_are_written() -> None:
    for address in ("10.9.1.2", "::ffff:10.9.1.2"):
        assert outgoing.is_allowed(ipaddress.ip_address(address), ["10.9.0.0/16"])
    assert outgoing.is_allowed(ipaddress.ip_address("fd00::1"), ["fd00::/8"])


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "http://localhost:80", "http://0x7f000001/", "http://2130706433/", "http://127.1/"]
)
def test_a_name_is_judged_by_its_addresses(url: str) -> None:
    with pytest.raises(outgoing.NotAllowed, match="not a public address"):
        outgoing.target(url, ["http"], [])


def test_a_host_by_name_or_address_is_allowed_and_told_with_its_addresses() -> None:
    found = outgoing.target("https://localhost/x", ["https"], ["localhost"])
    assert (found.host, found.port) == ("localhost", 443)
    assert set(found.addresses) <= {"127.0.0.1", "::1"} and found.addresses
    assert outgoing.target("http://127.0.0.1:81", ["http"], ["127.0.0.1/32"]).port == 81


@pytest.mark.parametrize(
    "url",
    ["ftp://example.org", "file:///etc", "http://a:b@example.org", "http://", "http://example.org:x", "example.org"],
)
def test_what_is_no_plain_request_is_refused(url: str) -> None:
    with pytest.raises(outgoing.NotAllowed):
        outgoing.target(url, ["http", "https", "ftp", "file"], ["example.org"])


@pytest.mark.parametrize("entry", ["git.internal", "10.0.0.0/8", "fd00::/8", "192.168.1.7"])
def test_a_setting_names_hosts_addresses_or_ranges(entry: str) -> None:
    assert outgoing.host_or_range(entry).startswith(entry.partition("/")[0])


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "10.0.0.0/33", "Git.Internal", "*", "", "10.0.0", "a b", "http://x"])
def test_another_setting_is_refused(entry: str) -> None:
    with pytest.raises(ValueError):
        outgoing.host_or_range(entry)
