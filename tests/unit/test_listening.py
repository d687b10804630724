"""Which sockets the agent serves, and where systemd is told to listen."""

from __future__ import annotations

import dataclasses
import socket

import pytest

from rustploy_agent import listening
from rustploy_agent.config import Settings
from rustploy_agent.errors import AgentError


@pytest.mark.parametrize(
    ("address", "all_of_them"),
    [
        ("127.0.0.1", ["127.0.0.1:80", "[::1]:80"]),
        ("0.0.0.0", ["0.0.0.0:80", "[::1]:80"]),
        ("::1", ["[::1]:80", "127.0.0.1:80"]),
        ("::", ["[::]:80", "127.0.0.1:80"]),
        ("192.0.2.7", ["192.0.2.7:80"]),
    ],
)
def test_a_local_address_takes_its_namesake_along(settings: Settings, address: str, all_of_them: list[str]) -> None:
    """Else an app waits at [::1] for whoever asks `localhost`, and is sent their token."""
    chosen = dataclasses.replace(settings, listen_address=address, listen_port=80)
    assert [listening.written(one) for one in listening.addresses(chosen)] == all_of_them


def test_the_drop_in_says_all_addresses_and_forgets_others() -> None:
    lines = listening.render(["127.0.0.1:8080", "[::1]:8080"]).splitlines()
    assert lines[1:] == ["[Socket]", "ListenStream=", "ListenStream=127.0.0.1:8080", "ListenStream=[::1]:8080"]


@pytest.mark.processes
def test_what_systemd_passed_is_taken_only_where_the_settings_say(settings: Settings) -> None:
    """After a change of the port an agent on the old one would be a listener that nobody asked for."""
    right, wrong = listening.own(("127.0.0.1", 0)), listening.own(("127.0.0.1", 0))
    chosen = dataclasses.replace(settings, listen_address="127.0.0.1", listen_port=right.getsockname()[1])
    found = listening.sockets(chosen, [right.detach(), wrong.fileno()])
    assert [one.getsockname()[1] for one in found] == [chosen.listen_port]
    with pytest.raises(OSError):
        wrong.getsockname()
    wrong.detach()
    found[0].close()


@pytest.mark.processes
def test_without_systemd_s_socket_the_agent_listens_itself_or_says_who_has_the_port(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        chosen = dataclasses.replace(settings, listen_address="127.0.0.1", listen_port=port)
        with pytest.raises(AgentError, match=rf"127\.0\.0\.1:{port} cannot be had: Address already in use; `ss"):
            listening.sockets(chosen, [])
    (found,) = listening.sockets(chosen, [])
    assert found.getsockname() == ("127.0.0.1", port)
    found.close()
