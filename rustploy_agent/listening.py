"""The address of the API, which systemd holds: no other program can take it while the agent restarts.

Root's `rustploy-agent listen` has rustploy-agent.socket listen where agent.yaml says; the agent only takes what systemd
hands over. Not ListenStream= in a file of the package: the address is a setting, and settings have one place.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from pathlib import Path

from rustploy_agent import files, process, units
from rustploy_agent.config import Settings
from rustploy_agent.errors import AgentError

log = logging.getLogger(__name__)
DROP_IN = Path("/etc/systemd/system/rustploy-agent.socket.d/50-rustploy.conf")
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
SYSTEMCTL_SECONDS = 60
BACKLOG = 1024
Address = tuple[str, int]


def addresses(settings: Settings) -> list[Address]:
    """The one of the settings; with a local one its namesake too: who asks `localhost` may get either."""
    own = ipaddress.ip_address(settings.listen_address)
    found = [(str(own), settings.listen_port)]
    if own.is_loopback or own.is_unspecified:
        found.append((LOOPBACK[6 if own.version == 4 else 4], settings.listen_port))
    return found


def hold(settings: Settings) -> int:
    """As root: systemd listens on these addresses when this returns, from now on and early at every boot."""
    first, *others = addresses(settings)
    wanted = [written(first), *(written(one) for one in others if _exists(one)), str(settings.paths.api_socket)]
    listening, active = _loaded()
    if listening != [f"{one} (Stream)" for one in wanted] or not DROP_IN.is_file():
        DROP_IN.parent.mkdir(exist_ok=True)
        files.replace(DROP_IN, render(wanted).encode(), mode=0o644)
        _systemctl("daemon-reload")
        active = False
    if not active:
        try:
            _systemctl("restart", units.SOCKET)
        except process.ProcessFailed:
            raise AgentError(_taken(first, f"journalctl -u {units.SOCKET} says why")) from None
    return 0


def render(wanted: list[str]) -> str:
    lines = [f"ListenStream={one}" for one in wanted]
    return "\n".join(["# Written by `rustploy-agent listen` from agent.yaml.", "[Socket]", "ListenStream=", *lines, ""])


def written(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def sockets(settings: Settings, descriptors: list[int]) -> list[socket.socket]:
    """Listening sockets: those that systemd passed, or our own where it holds none. Others it passed are closed."""
    wanted: list[Address | str] = [*addresses(settings), str(settings.paths.api_socket)]
    found = []
    for passed in (socket.socket(fileno=descriptor) for descriptor in descriptors):
        if _name(passed) in wanted:
            found.append(passed)
        else:
            passed.close()
    first = addresses(settings)[0]
    if first not in map(_name, found):
        log.warning("%s does not hold %s; an app could take it at a restart", units.SOCKET, written(first))
        found.insert(0, own(first))
    return found


def _name(one: socket.socket) -> Address | str:
    name: str | tuple[str, int] = one.getsockname()
    return name if isinstance(name, str) else name[:2]


def own(address: Address) -> socket.socket:
    found = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if found.family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        raise AgentError(_taken(address, str(error.strerror))) from None
    return found


def _taken(address: Address, why: str) -> str:
    shown = written(address)
    return f"listen: {shown} cannot be had: {why}; `ss -ltnp sport = :{address[1]}` shows who listens there"


def _exists(address: Address) -> bool:
    """Whether this host has the address; one without IPv6 has no ::1."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
            probe.bind((address[0], 0))
    except OSError:
        return False
    return True


def _loaded() -> tuple[list[str], bool]:
    """Where systemd's loaded files have it listen for the agent, and whether it does."""
    shown = _systemctl("show", "--property=Listen,ActiveState", units.SOCKET).splitlines()
    listening = [line.removeprefix("Listen=") for line in shown if line.startswith("Listen=")]
    return listening, "ActiveState=active" in shown


def _systemctl(*arguments: str) -> str:
    return process.run(["systemctl", *arguments], seconds=SYSTEMCTL_SECONDS)
