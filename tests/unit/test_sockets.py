"""Who listens, who is connected: without it an app's visitors go to whoever took its port."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

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


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
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


def test_a_server_among_many_is_found() -> None:
    """The tables are read in pieces, which end anywhere."""
    with contextlib.ExitStack() as opened:
        ports = [opened.enter_context(listening(address)) for address in ("127.0.0.1", "::") * 30]
        assert {sockets.server(port) for port in ports} == {os.geteuid()}
        assert sockets.exposed(ports) == sorted(ports[1::2])
