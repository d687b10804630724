"""Whose the other end of a connection is: without it all apps of a host count as the admin who sits at it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from rustploy_agent import peers

pytestmark = pytest.mark.processes


@pytest.fixture(params=["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"])
def connection(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's and the server's end; of IPv4 between sockets of IPv6 too, as clients of Java's are."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with contextlib.ExitStack() as opened, socket.socket(family) as server:
        server.bind((request.param, 0))
        server.listen()
        client = opened.enter_context(socket.create_connection(server.getsockname()[:2]))
        yield client, opened.enter_context(server.accept()[0])


def ends(connection: tuple[socket.socket, socket.socket]) -> tuple[str, int, int]:
    address, port = connection[1].getpeername()[:2]
    return address, port, connection[1].getsockname()[1]


def test_a_connection_of_this_host_has_an_owner(connection: tuple[socket.socket, socket.socket]) -> None:
    assert peers.owner(*ends(connection)) == os.getuid()


def test_one_whose_other_end_is_closed_has_none(connection: tuple[socket.socket, socket.socket]) -> None:
    """The kernel shows root for those, and an app could close its end to count as root."""
    asked = ends(connection)
    connection[0].close()
    with pytest.raises(peers.Unknown):
        peers.owner(*asked)


def test_one_that_is_shut_down_for_writing_has(connection: tuple[socket.socket, socket.socket]) -> None:
    connection[0].shutdown(socket.SHUT_WR)
    assert peers.owner(*ends(connection)) == os.getuid()


def test_another_port_of_the_same_address_is_another_connection(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    address, port, served = ends(connection)
    assert peers.owner(address, port, served + 1) is None


def test_a_connection_from_elsewhere_has_no_owner_here() -> None:
    assert peers.owner("192.0.2.1", 4321, 8080) is None
    assert peers.owner("fe80::1%eth0", 4321, 8080) is None


def test_users_of_apps_are_known_by_their_names() -> None:
    assert not peers.is_app(0)
    assert not peers.is_app(4_000_000_000)
