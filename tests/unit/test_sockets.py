"""Who listens, who is connected: without it an app's visitors go to whoever took its port."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rustploy_agent import sockets

pytestmark = pytest.mark.processes


@contextlib.contextmanager
def listening(address: str, port: int = 0) -> Iterator[int]:
    """The port that is listened on."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as found:
        if found.family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        found.bind((address, port))
        found.listen()
        yield found.getsockname()[1]


def test_connections_and_listeners_are_counted_by_port() -> None:
    with listening("127.0.0.1") as port:
        assert sockets.owners(port) == {os.geteuid()}
        before = sockets.connections(port)
        with socket.create_connection(("127.0.0.1", port)):
            assert sockets.connections(port) == before + 1
    assert sockets.owners(port) == set()


@pytest.mark.parametrize(
    ("address", "exposed"),
    [
        ("127.0.0.1", False),
        ("127.8.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("0.0.0.0", True),
        ("::", True),
    ],
)
def test_an_app_that_other_hosts_can_reach_is_seen(address: str, exposed: bool) -> None:
    """Else its visitors go around the ingress, without TLS, and nobody is told."""
    with listening(address) as port:
        assert sockets.exposed([port, 1]) == ([port] if exposed else [])


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0"])
def test_whoever_is_handed_connections_to_loopback_is_the_server(address: str) -> None:
    """An app may listen as it likes, as long as the probe and the ingress come to it."""
    with listening(address) as port, socket.create_connection(("127.0.0.1", port)):
        assert sockets.server(port) == os.geteuid()
    assert sockets.server(port) is None


@pytest.mark.parametrize("address", ["127.8.0.1", "::1"])
def test_who_listens_elsewhere_is_not_the_server(address: str) -> None:
    """Its owner would be taken for that of the port that the visitors go to."""
    with listening(address) as port:
        assert sockets.server(port) is None


def row(number: int, address: str, port: int, state: str, owner: int) -> str:
    ends = f"{address}:{port:04X} {'0' * len(address)}:0000"
    return f"{number:4}: {ends} {state} 00000000:00000000 00:00000000 00000000 {owner:5} 0 1"


def tables(monkeypatch: pytest.MonkeyPatch, directory: Path, ipv4: list[str], ipv6: list[str]) -> None:
    for name, rows in (("IPV4", ipv4), ("IPV6", ipv6)):
        (directory / name).write_text("".join(f"{line:149}\n" for line in ("  sl  local_address", *rows)))
        monkeypatch.setattr(sockets, name, str(directory / name))


def test_a_port_that_two_users_share_is_nobodys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The app has it for IPv6 only, another user for IPv4 by way of IPv6, and visitors come to that one."""
    any_address, mapped_loopback = "0" * 32, "0000000000000000FFFF00000100007F"
    rows = [row(0, any_address, 20000, "0A", 990), row(1, mapped_loopback, 20000, "0A", 991)]
    for order in (rows, rows[::-1]):
        tables(monkeypatch, tmp_path, [], order)
        assert sockets.server(20000) is None


def test_connections_are_not_taken_for_listeners_nor_looked_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A busy host has thousands, and each deployment would wait for all of them."""
    listening, connected = row(0, "0100007F", 20000, "0A", 990), row(1, "0100007F", 20001, "01", 990)
    tables(monkeypatch, tmp_path, [listening, connected, "unreadable"], [])
    assert (sockets.server(20000), sockets.server(20001)) == (990, None)


def test_a_server_among_many_is_found() -> None:
    """The tables are read in pieces, which end anywhere."""
    with contextlib.ExitStack() as opened:
        ports = [opened.enter_context(listening(address)) for address in ("127.0.0.1", "::") * 30]
        assert {sockets.server(port) for port in ports} == {os.geteuid()}
        assert sockets.exposed(ports) == sorted(ports[1::2])
